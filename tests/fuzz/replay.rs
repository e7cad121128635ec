//! What fuzzing has looked at so far, once again: each file of the corpora goes through its entrance.

use std::fs;
use std::path::Path;

use podzero::fuzz::TARGETS;

#[test]
fn nothing_that_was_tried_does_harm() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    for (name, target) in TARGETS {
        let mut count = 0;
        for entry in fs::read_dir(corpora.join(name)).expect(name) {
            let path = entry.expect("an entry").path();
            // A panic names it by the output that comes before.
            println!("{}", path.display());
            target(&fs::read(&path).expect("read"));
            count += 1;
        }
        assert!(count > 3, "{name} has no corpus");
    }
}
