//! `list`, `rm`, `tag`, `rename`, `pin`, `unpin`.

use crate::common::layout::{Builder, digest_of};
use crate::common::{World, over_each_index};

over_each_index!(
    list_takes_a_prefix_and_sorts_by_name,
    tag_takes_a_ref_a_digest_or_the_beginning_of_one,
    tag_new_fails_where_the_ref_is_there,
    rename_moves_a_ref_and_never_over_another,
    rm_takes_several_and_each_by_itself,
    a_pin_keeps_an_image_without_a_name,
    a_name_with_a_digest_and_a_port_is_a_name,
    names_by_no_grammar_are_a_usage_error,
    the_longest_name_works_and_a_longer_one_does_not,
);

fn names(world: &World) -> Vec<String> {
    world.refs().into_iter().map(|(name, _)| name).collect()
}

fn list_takes_a_prefix_and_sorts_by_name(world: &World) {
    world.ok("import --sref v1 --dref nginx:1 hello");
    for name in ["nginx:2", "apache:1", "nginx:10", "Zebra"] {
        world.ok(&format!("tag nginx:1 {name}"));
    }
    assert_eq!(names(world), ["Zebra", "apache:1", "nginx:1", "nginx:10", "nginx:2"]);
    assert_eq!(world.ok("list nginx:1").lines().count(), 3);
    assert_eq!(world.json("list apache")[0]["ref"], "apache:1");
    assert_eq!(world.json("list nothing"), serde_json::json!([]));
    assert_eq!(world.refs(), world.refs_in_index_json());
}

fn tag_takes_a_ref_a_digest_or_the_beginning_of_one(world: &World) {
    world.ok("import --sref v1 hello");
    let digest = world.digest("v1");
    let hex = &digest[7..];
    let short = [format!("sha256:{}", &hex[..9]), format!("sha256-{}", &hex[..9]), hex[..9].to_owned()];
    for (n, source) in ["v1".to_owned(), digest.clone()].into_iter().chain(short).enumerate() {
        assert_eq!(world.ok(&format!("tag {source} t{n}")), format!("t{n} {digest}\n"));
    }
    assert_eq!(names(world), ["t0", "t1", "t2", "t3", "t4", "v1"]);
    assert!(world.fails(4, "tag v9 t9").contains("v9"));
    assert_eq!(world.refs(), world.refs_in_index_json());
}

fn tag_new_fails_where_the_ref_is_there(world: &World) {
    world.ok("import --all hello");
    assert!(world.fails(1, "tag --new latest v1").contains("v1"));
    assert_ne!(world.digest("v1"), world.digest("latest"));
    world.ok("tag --new latest v2");
    world.ok("tag latest v1");
    assert_eq!(world.digest("v1"), world.digest("latest"));
}

fn rename_moves_a_ref_and_never_over_another(world: &World) {
    world.ok("import --all hello");
    let digest = world.digest("v1");
    assert!(world.fails(1, "rename v1 latest").contains("latest"));
    assert!(world.fails(4, "rename v9 v10").contains("v9"));
    assert_eq!(world.ok("rename v1 v2"), "");
    assert_eq!(names(world), ["latest", "v2"]);
    assert_eq!(world.digest("v2"), digest);
    world.ok("rename v2 v2");
    assert_eq!(world.refs(), world.refs_in_index_json());
}

fn rm_takes_several_and_each_by_itself(world: &World) {
    world.ok("import --all hello");
    world.ok("tag v1 a");
    world.ok("tag v1 b");
    world.ok("rm --ref a --ref b");
    assert_eq!(names(world), ["latest", "v1"]);
    let ran = world.run("rm v1 nothing latest");
    assert!(ran.fails(4).contains("nothing"));
    assert_eq!(names(world), [""; 0]);
    let ran = world.run("rm x y");
    assert_eq!((ran.code(), ran.err().lines().count()), (Some(4), 2), "{}", ran.err());
    assert!(ran.err().lines().all(|line| line.starts_with("error: ")), "{}", ran.err());
    world.fails(2, "rm");
}

fn a_pin_keeps_an_image_without_a_name(world: &World) {
    let mut layout = Builder::new(world.path("one"));
    let image = layout.image(&[b"a layer"]);
    layout.add(image.clone(), Some("one"));
    world.ok("import one");
    let digest = digest_of(&image);
    assert_eq!(world.ok("pin one"), format!("{digest}\n"));
    assert_eq!(world.ok("pin one"), format!("{digest}\n"), "again");
    world.ok("rm one");
    world.ok("gc --full");
    assert_eq!(world.blob_files().len(), 3);
    assert!(world.ok("pin").contains(&digest));
    assert_eq!(world.json("pin")[0]["digest"], digest.as_str());
    assert_eq!(digest_of(&crate::common::layout::entries(&world.path("store"))[0]), digest);
    assert!(world.ok("check").starts_with("1 image"));

    assert_eq!(world.ok(&format!("unpin {}", &digest[..20])), format!("{digest}\n"));
    assert!(world.fails(4, &format!("unpin {digest}")).contains(&digest));
    world.ok("gc");
    assert_eq!(world.blob_files(), [""; 0]);
    world.fails(4, "unpin one");
}

fn a_name_with_a_digest_and_a_port_is_a_name(world: &World) {
    world.ok("import --sref v1 --dref x hello");
    let name = format!("localhost:5000/a/b:v1@{}", world.digest("x"));
    world.ok(&format!("tag x {name}"));
    assert_eq!(names(world), [name.clone(), "x".to_owned()]);
    world.ok(&format!("export {name} out"));
    world.ok(&format!("rm {name}"));
    world.ok("import out");
    assert_eq!(names(world), [name, "x".to_owned()]);
}

fn names_by_no_grammar_are_a_usage_error(world: &World) {
    world.ok("import --all hello");
    for name in ["a b", "-a", "a//b", "/a", "a/", "ü", "a:", "", "a...b", "a\nb"] {
        let args = ["tag", "--", "v1", name];
        world.run_args(args).fails(2);
        world.run_args(["import", "--sref", "v1", &format!("--dref={name}"), "hello"]).fails(2);
        world.run_args(["rm", "--", name]).fails(2);
        world.run_args(["rename", "--", "v1", name]).fails(2);
    }
    assert_eq!(names(world), ["latest", "v1"]);
}

fn the_longest_name_works_and_a_longer_one_does_not(world: &World) {
    world.ok("import --sref v1 hello");
    let (a, b) = (format!("{}1", "n".repeat(1023)), format!("{}2", "n".repeat(1023)));
    world.ok(&format!("tag v1 {a}"));
    world.ok(&format!("tag v1 {b}"));
    world.fails(2, &format!("tag v1 {a}x"));
    assert_eq!(names(world), [a.clone(), b.clone(), "v1".to_owned()]);
    assert_eq!(world.json(&format!("list {a}"))[0]["ref"], a.as_str());
    world.ok(&format!("rm {a}"));
    assert_eq!(names(world), [b, "v1".to_owned()]);
}
