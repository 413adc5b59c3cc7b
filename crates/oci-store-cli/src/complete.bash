# Completes the commands of BIN, and refs and digests of its store.
_oci_store() {
    local breaks="" words=() word i joined=0
    [[ $COMP_WORDBREAKS == *:* ]] && breaks+=:
    [[ $COMP_WORDBREAKS == *=* ]] && breaks+==
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        # Behind a blank, a new word has begun, whatever the one before ends with.
        [[ $i == "$COMP_CWORD" && -z $word && ${COMP_LINE:COMP_POINT-1:1} == [[:blank:]] ]] && joined=0
        if ((${#words[@]} > 1)) && [[ -n $breaks ]] && { ((joined)) || [[ $word == [$breaks]* ]]; }; then
            words[${#words[@]} - 1]+=$word
        else
            words+=("$word")
        fi
        joined=0
        [[ -n $breaks && $word == *[$breaks] ]] && joined=1
    done
    local current=${words[${#words[@]} - 1]} typed=""
    [[ -n $breaks && $current == *[$breaks]* ]] && typed=${current%"${current##*[$breaks]}"}
    mapfile -t COMPREPLY < <(
        VAR=bash _CLAP_IFS=$'\n' _CLAP_COMPLETE_INDEX=$((${#words[@]} - 1)) COMPLETER -- "${words[@]}" 2>/dev/null
    )
    COMPREPLY=("${COMPREPLY[@]#"$typed"}")
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *[=/:] ]] && compopt -o nospace 2>/dev/null
    return 0
}
complete -o bashdefault -F _oci_store BIN
