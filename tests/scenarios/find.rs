//! `tree`, `referrers`, `diff`, `find`.

use serde_json::{Value, json};

use crate::common::layout::{Builder, CONFIG, LAYER, MANIFEST, blob_path, digest_of, on};
use crate::common::{World, over_each_index};

over_each_index!(
    a_tree_has_all_that_an_image_has_and_what_is_about_it,
    a_tree_is_drawn_as_the_locale_can,
    a_tree_tells_what_is_not_there_and_opens_nothing_twice,
    referrers_are_told_by_their_type,
    a_diff_tells_blobs_layers_and_configs,
    find_takes_what_all_filters_say,
    find_tells_what_it_could_not_read,
);

/// An image with a config of its own.
fn image(layout: &Builder, config: &Value, layers: &[&[u8]]) -> Value {
    let config = layout.document(CONFIG, config);
    let layers: Vec<Value> = layers.iter().map(|bytes| layout.blob(LAYER, bytes)).collect();
    layout.manifest(&config, &layers)
}

/// `multi` for two platforms, signed and annotated; `old` and `new`, which share a layer with one of them.
fn fill(world: &World) -> Builder {
    let mut layout = Builder::new(world.path("shop"));
    let config = |architecture: &str, run: Value| json!({ "os": "linux", "architecture": architecture, "config": run });
    let amd = image(&layout, &config("amd64", json!({})), &[b"base", b"amd64"]);
    let arm = image(&layout, &config("arm64", json!({})), &[b"arm64"]);
    let mut listed = on(arm, "arm64");
    listed["annotations"] = json!({ "org.example.listed": "yes" });
    let index = layout.index(&[on(amd.clone(), "amd64"), listed]);
    let signature = layout.referrer(&amd, "application/x.signature", b"signature");
    let sbom = layout.referrer(&amd, "application/x.sbom", b"sbom");
    let second = layout.referrer(&signature, "application/x.signature", b"of the signature");
    let run = json!({ "Env": ["PATH=/bin", "A=1"], "Labels": { "team": "red" }, "Entrypoint": ["/old"] });
    let old = image(&layout, &config("amd64", run), &[b"base", b"one", b"last"]);
    let run = json!({ "Env": ["PATH=/usr/bin", "A=1"], "Labels": { "team": "blue", "x": "" }, "Entrypoint": ["/old"] });
    let mut new = image(&layout, &config("amd64", run), &[b"base", b"two", b"three", b"last"]);
    new["annotations"]["org.example.entry"] = "here".into();
    layout.add(index, Some("multi")).add(old, Some("old")).add(new, Some("new"));
    layout.add(signature, None).add(sbom, None).add(second, None);
    world.ok("import --all shop");
    layout
}

fn roles(node: &Value) -> Vec<&str> {
    node["children"].as_array().unwrap().iter().map(|child| child["role"].as_str().unwrap()).collect()
}

fn a_tree_has_all_that_an_image_has_and_what_is_about_it(world: &World) {
    fill(world);
    let tree = world.json("tree multi");
    assert_eq!((&tree["digest"], &tree["role"]), (&world.digest("multi").into(), &Value::Null));
    assert_eq!(roles(&tree), ["manifest", "manifest"]);
    let amd = &tree["children"][0];
    assert_eq!(amd["platform"], "linux/amd64");
    assert_eq!(roles(amd), ["config", "layer", "layer", "referrer", "referrer"]);
    // Of the image by itself, and of `old` and `new`.
    assert_eq!(amd["children"][1]["otherImages"], 2);
    assert_eq!(amd["children"][2]["otherImages"], 0);
    let about =
        amd["children"].as_array().unwrap().iter().find(|child| child["artifactType"] == "application/x.signature");
    assert_eq!(roles(about.unwrap()), ["config", "layer", "referrer"]);
    // A manifest by itself has its platform from its config.
    assert_eq!(world.json("tree old")["platform"], "linux/amd64");
    let referrer = about.unwrap()["digest"].as_str().unwrap();
    assert_eq!(roles(&world.json(&format!("tree {}", &referrer[..20]))), ["config", "layer", "subject", "referrer"]);
    assert_eq!(roles(&world.json(&format!("tree {}", amd["children"][1]["digest"].as_str().unwrap()))), [""; 0]);
    assert!(world.fails(4, "tree nothing").contains("nothing"));
}

fn a_tree_is_drawn_as_the_locale_can(world: &World) {
    fill(world);
    for (locale, branch, last) in [("C.UTF-8", "├─ layer tar", "└─ manifest"), ("C", "|-- layer tar", "`-- manifest")]
    {
        let mut command = world.oci_store();
        let ran = crate::common::Ran::of(command.args(["tree", "multi"]).env("LC_ALL", locale));
        let text = ran.ok();
        assert!(text.contains(branch) && text.contains(last), "{locale}: {text}");
        assert!(text.contains("multi index ") && text.contains("linux/arm64"), "{text}");
        assert!(text.contains("in 2 other images too"), "{text}");
    }
}

fn a_tree_tells_what_is_not_there_and_opens_nothing_twice(world: &World) {
    let mut layout = Builder::new(world.path("deep"));
    let one = layout.image(&[b"gone", b"kept"]);
    // Both of each list both of those before: 2^20 paths.
    let mut both = [layout.index(std::slice::from_ref(&one)), layout.index(&[one.clone(), one.clone()])];
    for _ in 0..20 {
        let [a, b] = both;
        both = [layout.index(&[a.clone(), b.clone()]), layout.index(&[b, a])];
    }
    layout.add(both[0].clone(), Some("deep"));
    std::fs::remove_file(blob_path(&layout.folder, &crate::common::layout::digest(b"gone"))).unwrap();
    world.ok("import --allow-incomplete deep");
    let text = world.ok("tree deep");
    assert!(text.lines().count() < 100 && text.contains("see above"), "{text}");
    assert_eq!(text.matches("MISSING").count(), 1, "{text}");
    let why = world.json(&format!("why {} --limit 3", crate::common::layout::digest(b"kept")));
    assert_eq!((why["paths"].as_array().unwrap().len(), &why["uncounted"]), (3, &true.into()));
    assert!(why["more"].as_u64().unwrap() > 1000, "{}", why["more"]);
    // A document that has rotted is shown, and what is below it is not known.
    let path = blob_path(&world.path("store"), &digest_of(&one));
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, vec![b' '; bytes.len()]).unwrap();
    let text = world.ok("tree deep");
    assert!(!text.contains("MISSING") && text.contains(&digest_of(&one)), "{text}");
    let found = world.json(&format!("tree {}", digest_of(&one)));
    assert!(found["unreadable"].as_str().unwrap().contains(&digest_of(&one)), "{found}");
}

fn referrers_are_told_by_their_type(world: &World) {
    fill(world);
    let amd = digest_of(&world.json("inspect multi")["manifests"][0]);
    let all = world.json(&format!("referrers {amd}"));
    assert_eq!(all.as_array().unwrap().len(), 2);
    let one = world.json(&format!("referrers {amd} --artifact-type application/x.sbom"));
    assert_eq!((one.as_array().unwrap().len(), &one[0]["artifactType"]), (1, &"application/x.sbom".into()));
    let text = world.ok(&format!("referrers {amd}"));
    assert!(text.starts_with("DIGEST") && text.contains("application/x.signature"), "{text}");
    assert_eq!(world.json("referrers multi"), json!([]));
    assert_eq!(world.json(&format!("referrers {amd} --artifact-type no/such")), json!([]));
    world.fails(4, "referrers nothing");
}

fn a_diff_tells_blobs_layers_and_configs(world: &World) {
    fill(world);
    let diff = world.json("diff old new");
    assert_eq!(
        (&diff["both"]["blobs"], &diff["onlyOld"]["blobs"], &diff["onlyNew"]["blobs"]),
        (&2.into(), &3.into(), &4.into())
    );
    let [manifest] = diff["manifests"].as_array().unwrap().as_slice() else { panic!("{diff}") };
    let sides: Vec<&str> =
        manifest["layers"].as_array().unwrap().iter().map(|layer| layer["in"].as_str().unwrap()).collect();
    assert_eq!(sides, ["both", "old", "new", "new", "both"]);
    let fields: Vec<_> = manifest["config"]
        .as_array()
        .unwrap()
        .iter()
        .map(|field| (field["field"].as_str().unwrap(), &field["old"]))
        .collect();
    assert_eq!(fields, [("Env.PATH", &json!("/bin")), ("Labels.team", &json!("red")), ("Labels.x", &Value::Null)]);
    let text = world.ok("diff old new");
    assert!(text.contains("- Env.PATH \"/bin\"\n+ Env.PATH \"/usr/bin\"\n"), "{text}");
    assert!(text.contains("+ layer ") && text.contains("old only"), "{text}");

    let same = world.json("diff old old");
    assert_eq!((&same["manifests"], &same["onlyNew"]["bytes"]), (&json!([]), &0.into()));
    // By platform: the one is compared, and the other is gone.
    let diff = world.json("diff multi new");
    let manifests = diff["manifests"].as_array().unwrap();
    assert_eq!(manifests.len(), 2);
    assert_eq!((&manifests[0]["platform"], manifests[0]["new"].is_null()), (&"linux/amd64".into(), false));
    assert_eq!((&manifests[1]["platform"], manifests[1]["new"].is_null()), (&"linux/arm64".into(), true));
    world.fails(4, "diff old nothing");
    world.fails(2, "diff old");
}

fn find_takes_what_all_filters_say(world: &World) {
    fill(world);
    let found = |words: &str| -> Vec<String> {
        let found = world.json(&format!("find {words}"));
        found.as_array().unwrap().iter().map(|found| found["ref"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(found(""), ["multi", "new", "old"]);
    assert_eq!(found("--platform linux/amd64"), ["multi", "new", "old"]);
    assert_eq!(found("--platform linux/arm64"), ["multi"]);
    assert_eq!(found("--platform linux/arm64/v8"), [""; 0]);
    assert_eq!(found("--label team"), ["new", "old"]);
    assert_eq!(found("--label team=blue"), ["new"]);
    assert_eq!(found("--label team=red --label x"), [""; 0]);
    assert_eq!(found("--label x="), ["new"]);
    assert_eq!(found("--annotation org.example.listed=yes"), ["multi"]);
    assert_eq!(found("--annotation org.example.entry"), ["new"]);
    assert_eq!(found("--annotation org.example.entry=there"), [""; 0]);
    assert_eq!(found(&format!("--media-type {MANIFEST}")), ["multi", "new", "old"]);
    assert_eq!(found(&format!("--media-type {LAYER} --label team=red --platform linux/amd64")), ["old"]);
    let base = crate::common::layout::digest(b"base");
    assert_eq!(found(&format!("--layer {}", &base[..20])), ["multi", "new", "old"]);
    assert_eq!(found(&format!("--layer {}", crate::common::layout::digest(b"two"))), ["new"]);
    let size = world.json("find --label team=red")[0]["size"].as_u64().unwrap();
    assert_eq!(found(&format!("--min-size {size} --max-size {size}")), ["old"]);
    assert_eq!(found("--older-than 1h"), [""; 0]);
    assert_eq!(found("--newer-than 1h --label team=red"), ["old"]);
    assert_eq!(world.ok("-q find --label team"), "new\nold\n");
    assert!(world.ok("find --label team").starts_with("REF"));
    world.fails(4, "find --layer nothing");
    for words in ["--label =x", "--platform x", "--min-size much", "--older-than long"] {
        world.fails(2, &format!("find {words}"));
    }
}

fn find_tells_what_it_could_not_read(world: &World) {
    fill(world);
    let path = blob_path(&world.path("store"), &digest_of(&world.json("inspect old")["config"]));
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, vec![b' '; bytes.len()]).unwrap();
    let ran = world.run("find --label team");
    assert_eq!(ran.code(), Some(1), "{}", ran.err());
    assert!(ran.out().contains("new") && ran.err().starts_with("error: old: ") && ran.err().lines().count() == 1);
    assert_eq!(world.json("find --media-type x/y"), json!([]));
}
