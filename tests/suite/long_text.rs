//! The memory of a long text: that of its tokens and a few bytes a document, and none for its letters.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};

use crate::harness::Project;

/// Words that the built-in tokenizer knows.
const WORDS: [&str; 16] = [
    "the", "council", "said", "that", "market", "company", "city", "year", "team", "players",
    "police", "work", "found", "would", "new", "people",
];

/// Lines of JSON of about so many bytes, each a document with a prompt and a topic.
fn lines(bytes: usize) -> String {
    let (mut text, mut draw) = (String::with_capacity(bytes + 256), 1u64);
    let mut words = |count: usize| {
        let words = (0..count).map(|_| {
            // The generator of Knuth's MMIX.
            draw = draw
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            WORDS[(draw >> 60) as usize]
        });
        words.collect::<Vec<&str>>().join(" ")
    };
    while text.len() < bytes {
        let (prompt, answer, topic) = (words(4), words(6), words(1));
        writeln!(
            text,
            r#"{{"prompt":"{prompt}","answer":" {answer}","topic":"{topic}"}}"#
        )
        .unwrap();
    }
    text
}

/// What a text took.
struct Taken {
    /// The peak of the process's memory, in bytes.
    peak: f64,
    documents: f64,
    tokens: f64,
}

/// Has `milepost data` read and encode a text of about so many bytes.
fn taken(bytes: usize) -> Taken {
    let project = Project::new();
    project.write("long.jsonl", lines(bytes));
    let data = "[data]\nsource = \"jsonl\"\ntrain = \"long.jsonl\"\nheld_out = { share = 0.1, seed = 1 }\n\
        prompt = \"prompt\"\ntext = \"answer\"\ntopic = \"topic\"\n";
    let train =
        "[train.objective.main]\nkind = \"answers\"\n[templates]\nfile = \"templates.tsv\"\n";
    project.write("long.toml", format!("{data}{train}"));
    // It shows more documents than a pipe holds, so it waits, with all of the text read, until its words are taken.
    let mut child = project.spawn(&["data", "long.toml", "--first", "2000"]);
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let mut shown = String::new();
    said.read_line(&mut shown).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    said.read_to_string(&mut shown).unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert!(shown.len() > 1 << 17, "a pipe may hold all of it");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: f64 = peak
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    // `  9000 documents, 81000 tokens in ...`, for each split.
    let counts = shown.lines().filter_map(|line| {
        let (documents, rest) = line.trim().split_once(" documents, ")?;
        let (tokens, _) = rest.split_once(" tokens in ")?;
        Some([documents.parse::<f64>().ok()?, tokens.parse::<f64>().ok()?])
    });
    let counts: Vec<[f64; 2]> = counts.collect();
    assert_eq!(counts.len(), 2, "{shown}");
    Taken {
        peak: kib * 1024.0,
        documents: counts[0][0] + counts[1][0],
        tokens: counts[0][1] + counts[1][1],
    }
}

#[test]
#[cfg_attr(
    not(target_os = "linux"),
    ignore = "the peak is read where Linux says it"
)]
fn memory_grows_by_tokens_and_documents_and_not_by_letters() {
    const MIB: f64 = 1048576.0;
    let (short, long) = (taken(1 << 20), taken(32 << 20));
    let grown = long.peak - short.peak;
    // 4 bytes a token, and of a document its place, topic and prompt.
    let kept = 4.0 * (long.tokens - short.tokens) + 16.0 * (long.documents - short.documents);
    // Lists that grow are copied into room of twice the size, and leave theirs to the allocator.
    assert!(
        grown < 2.0 * kept + 10.0 * MIB,
        "{} MiB more for {} documents of {} tokens, which take {} MiB",
        grown / MIB,
        long.documents,
        long.tokens,
        kept / MIB
    );
}
