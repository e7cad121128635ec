//! Writing, reading and merging the files; and that plots are XML.

use std::fs;

use super::file::SCHEMA;
use super::*;

const NAMES: [&str; 3] = ["start", "idle", "binary"];

fn samples(all: &[f64]) -> Samples {
    let mut samples = Samples::default();
    for sample in all {
        samples.push(*sample);
    }
    samples
}

fn versions(commit: &str) -> Versions {
    Versions {
        podzero: "0.1.0".to_owned(),
        commit: commit.to_owned(),
        server: "redis 7.0.15".to_owned(),
        kubernetes: "Kubernetes v1.20.2".to_owned(),
    }
}

fn measured(name: &str, commit: &str) -> Measured {
    let gap = Row::new("gap <of a writer> & \"more\"", "ms")
        .promised("podzero", &samples(&[3.0, 5.5, 4.25]), 5.0)
        .way("FAILOVER", &samples(&[967.0, 1000.0, 980.0]))
        .way("by hand", &samples(&[0.0, 0.0]));
    let lost = Row::new("lost", "")
        .promised("podzero", 0.0, 0.0)
        .way("FAILOVER", 12345.0);
    Measured {
        name: name.to_owned(),
        run: Run {
            at: format!("2026-11-22T10:00:0{}Z", name.len()),
            command: format!("cargo bench -- {name}"),
            rounds: None,
            load: "0.10".to_owned(),
            machine: Machine {
                processors: 2,
                processor: "Xeon".to_owned(),
                memory: "8.0 GiB".to_owned(),
                kernel: "Linux 6.18".to_owned(),
            },
            versions: versions(commit),
        },
        figure: Figure {
            title: "a title".to_owned(),
            rows: vec![gap, lost],
            remarks: vec!["A remark.".to_owned()],
        },
    }
}

fn nothing() -> File {
    File {
        schema: SCHEMA,
        figures: Vec::new(),
    }
}

/// With one figure.
fn file(measured: Measured) -> File {
    let mut file = nothing();
    file.put(measured, &NAMES);
    file
}

fn names(file: &File) -> Vec<(&str, &str)> {
    let each = file.figures.iter();
    each.map(|m| (&*m.name, &*m.run.versions.commit)).collect()
}

#[test]
fn a_new_figure_takes_the_old_ones_place_and_the_others_stay() {
    let mut file = nothing();
    for (name, commit) in [
        ("binary", "old"),
        ("start", "old"),
        ("gone", "old"),
        ("binary", "new"),
    ] {
        file.put(measured(name, commit), &NAMES);
    }
    assert_eq!(names(&file), [("start", "old"), ("binary", "new")]);
}

#[test]
fn what_is_written_is_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path().join("not/there/yet");
    let none = File::read(&at).expect("nothing was measured");
    assert_eq!(names(&none), []);
    let mut file = file(measured("start", "a"));
    file.figures[0].run.rounds = Some(3);
    file.write(&at, &versions("a"), &NAMES).expect("written");
    let again = File::read(&at).expect("what was written");
    assert_eq!(
        serde_json::to_value(&again).expect("JSON"),
        serde_json::to_value(&file).expect("JSON")
    );
    let mut left: Vec<_> = fs::read_dir(&at)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["figures.json", "figures.md", "start.svg"]);
}

/// The shape that readers rely on.
#[test]
fn the_json_is_as_it_is_documented() {
    let json = serde_json::to_value(file(measured("start", "a"))).expect("JSON");
    assert_eq!(json["schema"], 1);
    let figure = &json["figures"][0];
    assert_eq!(figure["name"], "start");
    assert_eq!(figure["title"], "a title");
    assert_eq!(figure["run"]["versions"]["commit"], "a");
    assert_eq!(figure["run"].get("rounds"), None);
    let (gap, lost) = (&figure["rows"][0]["ways"], &figure["rows"][1]["ways"]);
    assert_eq!(
        gap[0],
        serde_json::json!({
            "who": "podzero", "goal": 5.0,
            "runs": 3, "p50": 4.25, "p99": 5.5, "max": 5.5, "samples": [3.0, 5.5, 4.25],
        })
    );
    assert_eq!(
        lost[1],
        serde_json::json!({"who": "FAILOVER", "value": 12345.0})
    );
}

#[test]
fn what_cannot_be_read_is_not_written_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("figures.json");
    for (text, wanted) in [
        ("{\"schema\": 2}", "has schema 2, and this is for 1"),
        ("{\"schema\": 1}", "is not as expected"),
        ("{", "is no JSON"),
    ] {
        fs::write(&path, text).expect("written");
        let error = File::read(folder.path()).expect_err(text);
        let told = format!("{error:#}");
        assert!(
            told.contains(wanted) && told.contains("move it away"),
            "{told}"
        );
    }
}

#[test]
fn the_table_tells_what_is_missed_stale_and_missing() {
    let mut file = file(measured("start", "a98f0d2"));
    let mut tried = measured("binary", "b000000");
    tried.run.rounds = Some(3);
    tried.run.versions.server = "valkey 9.1.2".to_owned();
    tried.figure.rows.truncate(1);
    tried.figure.rows[0].ways.truncate(2);
    tried.figure.rows[0].ways[0].goal = Some(5.5);
    file.put(tried, &NAMES);
    insta::assert_snapshot!(file.text(&versions("b000000"), &NAMES), @r#"
    # Figures

    - Machine: 2 x Xeon, 8.0 GiB, Linux 6.18
    - Versions: podzero 0.1.0, valkey 9.1.2, Kubernetes v1.20.2
    - Last measured: 2026-11-22T10:00:06Z

    A goal is met or not by the p99, which is the largest of fewer than 100 runs, or by the one number
    that there is. All of it, with the samples where they are few, is in `figures.json`.

    2 of 3 goals are met. **Missed:**

    - start: gap <of a writer> & "more", ms, podzero

    **Not measured yet:** idle (`cargo bench -- idle`).

    ## start: a title

    Measured 2026-11-22T10:00:05Z at commit a98f0d2, load 0.10: `cargo bench -- start`.
    **Stale: the checkout is at b000000 by now.**
    **With other versions: podzero 0.1.0, redis 7.0.15, Kubernetes v1.20.2.**

    ![a title](start.svg)

    | what                           | who      | runs | median |  p99 |  max | goal | met    |
    |--------------------------------|----------|-----:|-------:|-----:|-----:|------|--------|
    | gap <of a writer> & "more", ms | podzero  |    3 |   4.25 | 5.50 | 5.50 | <= 5 | **NO** |
    |                                | FAILOVER |    3 |    980 | 1000 | 1000 |      |        |
    |                                | by hand  |    2 |      0 |    0 |    0 |      |        |
    | lost                           | podzero  |      |      0 |      |      | <= 0 | yes    |
    |                                | FAILOVER |      |  12345 |      |      |      |        |

    A remark.

    ## binary: a title

    Measured 2026-11-22T10:00:06Z at commit b000000, load 0.10: `cargo bench -- binary`.
    **Tried out only, with 3 rounds at most: no figure.**

    | what                           | who      | runs | median |  p99 |  max | goal    | met |
    |--------------------------------|----------|-----:|-------:|-----:|-----:|---------|-----|
    | gap <of a writer> & "more", ms | podzero  |    3 |   4.25 | 5.50 | 5.50 | <= 5.50 | yes |
    |                                | FAILOVER |    3 |    980 | 1000 | 1000 |         |     |

    A remark.
    "#);
}

#[test]
fn a_table_without_figures_says_so() {
    let text = nothing().text(&versions("a"), &NAMES);
    assert!(text.contains("Nothing has been measured."), "{text}");
    assert!(text.contains("cargo bench -- start idle binary"), "{text}");
}

/// The texts of a plot, by an XML reader that is not ours.
fn texts(svg: &str) -> Vec<String> {
    let document = roxmltree::Document::parse(svg).unwrap_or_else(|e| panic!("{e}:\n{svg}"));
    let all = document.descendants();
    let texts = all.filter(|node| node.has_tag_name("text"));
    texts
        .filter_map(|node| node.text().map(ToOwned::to_owned))
        .collect()
}

#[test]
fn a_plot_is_xml_with_its_names_units_and_goals() {
    let mut figure = measured("start", "a").figure;
    let lost = figure.rows.remove(1).way("by hand", 1.0);
    figure.rows.push(lost);
    let svg = plot::svg(&figure).expect("three ways are plotted");
    let texts = texts(&svg);
    for wanted in [
        "a title",
        "gap <of a writer> & \"more\"",
        "podzero",
        "FAILOVER",
        "by hand",
        "ms (logarithmic)",
        "goal: at most 5",
        "4.25 / 5.50",
    ] {
        assert!(texts.iter().any(|t| t == wanted), "{wanted}: {texts:?}");
    }
    assert!(
        !texts.iter().any(|t| t == "lost"),
        "counts are not plotted: {texts:?}"
    );
    let dots = svg.matches("<circle").count();
    assert_eq!(dots, 8, "one for each sample");
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
}

#[test]
fn two_things_beside_each_other_have_no_plot() {
    let mut figure = measured("start", "a").figure;
    figure.rows[0].ways.truncate(2);
    assert_eq!(plot::svg(&figure), None);
}

#[test]
fn numbers_have_the_decimals_that_they_deserve() {
    for (number, told) in [
        (0.0, "0"),
        (0.0054, "0.005"),
        (0.2, "0.20"),
        (3.456, "3.46"),
        (12.34, "12.3"),
        (8.0, "8"),
        (967.4, "967"),
        (1_234_567.0, "1234567"),
    ] {
        assert_eq!(short(number), told);
    }
}
