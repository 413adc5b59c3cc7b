//! The commands of the original program, in Go, as they were.

use crate::common::{World, over_each_index};

over_each_index!(the_commands_of_the_original_work_as_they_were);

fn the_commands_of_the_original_work_as_they_were(world: &World) {
    let run = |words: &str| world.ok(&format!("--store-path store {words}"));
    run("import --sref latest --dref nginx:latest hello/");

    let list = run("list");
    let lines: Vec<&str> = list.lines().collect();
    let digest = world.digest("nginx:latest");
    let mut head = lines[0].split("  ").filter(|cell| !cell.is_empty()).map(str::trim);
    assert_eq!((head.next(), head.next()), (Some("REF"), Some("MANIFEST DIGEST")));
    let mut row = lines[1].split_whitespace();
    assert_eq!((row.next(), row.next()), (Some("nginx:latest"), Some(digest.as_str())));
    assert_eq!(lines.len(), 2);

    run("export --sref nginx:latest --dref latest out/");
    assert_eq!(
        world.run("inspect nginx:latest --raw").bytes(),
        world.read(&format!("out/blobs/{}", digest.replace(':', "/")))
    );
    let index = String::from_utf8(world.read("out/index.json")).unwrap();
    assert!(index.contains(&digest) && index.contains("\"latest\"") && !index.contains("nginx"), "{index}");

    run("rm --ref nginx:latest");
    assert_eq!(run("list").lines().count(), 1);
    run("gc");
    assert_eq!(world.blob_files(), [""; 0]);
    world.assert_no_leftovers();
}
