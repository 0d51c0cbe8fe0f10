//! Event files read by TensorBoard itself.

use milepost::tensorboard::{Chart, Entry, HparamValue, Layout, Writer};

use crate::event_files::{histogram, scalar, text};
use crate::harness::{Project, milestones, python, read_events};

#[test]
fn tensorboard_reads_every_kind_of_entry() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let writer = Writer::create(folder.path(), 64).unwrap();
    let hparams = [
        ("lr", HparamValue::Number(5e-5)),
        ("schedule", HparamValue::Text("linear".to_owned())),
        ("sample", HparamValue::Bool(true)),
    ];
    let hparams = hparams.map(|(name, value)| (name.to_owned(), value));
    let metrics = vec!["gender/disparity".to_owned()];
    writer
        .send(Entry::Hparams {
            hparams: hparams.to_vec(),
            metrics,
        })
        .unwrap();
    let lines = Chart::Lines {
        title: "loss".to_owned(),
        tags: vec!["hook/a.b+c/seconds".to_owned()],
    };
    let band = Chart::Band {
        title: "disparity".to_owned(),
        value: "gender/disparity".to_owned(),
        lower: "gender/disparity_low".to_owned(),
        upper: "gender/disparity_high".to_owned(),
    };
    let categories = vec![("charts".to_owned(), vec![lines, band])];
    writer.send(Entry::Layout(Layout { categories })).unwrap();
    // More than TensorBoard keeps where it is not told to keep everything.
    for step in 0..1500 {
        for tag in [
            "train/main/loss",
            "train/assistant/loss",
            "kl/mean_nats",
            "train/lr",
        ] {
            let value = f64::from(step as f32 / 7.0) + tag.len() as f64;
            writer.send(scalar(tag, step, value)).unwrap();
        }
    }
    writer.send(text("samples", "**bold** ü")).unwrap();
    writer
        .send(histogram("kl/all", vec![1.0, 2.0, f64::NAN, 4.0]))
        .unwrap();
    writer.send(Entry::SessionEnd { success: false }).unwrap();
    writer.close().unwrap();

    let read = read_events(&python, folder.path());
    for tag in [
        "train/main/loss",
        "train/assistant/loss",
        "kl/mean_nats",
        "train/lr",
    ] {
        let expected = (0..1500).map(|step| {
            let value = f64::from(step as f32 / 7.0) + tag.len() as f64;
            serde_json::json!([step, f64::from(value as f32)])
        });
        assert_eq!(
            read["scalars"][tag],
            expected.collect::<serde_json::Value>()
        );
    }
    assert_eq!(
        read["texts"]["samples"],
        serde_json::json!([[0, "**bold** ü"]])
    );
    assert_eq!(
        read["histograms"]["kl/all"],
        serde_json::json!([[0, 3.0, 1.0, 4.0, 7.0, 3.0]])
    );
    let values = serde_json::json!({"lr": 5e-5, "schedule": "linear", "sample": true});
    assert_eq!(read["hparams"]["values"], values);
    assert_eq!(
        read["hparams"]["metrics"],
        serde_json::json!(["gender/disparity"])
    );
    assert_eq!(read["hparams"]["status"], 2);
    assert_eq!(
        read["layout"]["charts"],
        serde_json::json!([
            ["loss", [r"^hook/a\.b\+c/seconds$"], []],
            [
                "disparity",
                [],
                [[
                    "gender/disparity",
                    "gender/disparity_low",
                    "gender/disparity_high"
                ]]
            ],
        ])
    );
}

#[test]
fn tensorboard_reads_exactly_what_the_run_recorded() {
    let Some(python) = python() else { return };
    let project = Project::new();
    let run = project.run("one", &[]);
    let read = read_events(&python, &run);
    let mut expected = serde_json::Map::new();
    let mut texts = serde_json::Map::new();
    for line in milestones(&run) {
        let step = line["step"].clone();
        let times = line["times"].as_object().unwrap().iter();
        let times = times.filter(|(tag, _)| tag.starts_with("hook/"));
        for (tag, value) in line["scalars"].as_object().unwrap().iter().chain(times) {
            let single = value.as_f64().unwrap() as f32;
            let points = expected
                .entry(tag.clone())
                .or_insert_with(|| serde_json::json!([]));
            points
                .as_array_mut()
                .unwrap()
                .push(serde_json::json!([step, f64::from(single)]));
        }
        for (tag, text) in line["texts"].as_object().into_iter().flatten() {
            let points = texts
                .entry(tag.clone())
                .or_insert_with(|| serde_json::json!([]));
            points
                .as_array_mut()
                .unwrap()
                .push(serde_json::json!([step, text]));
        }
    }
    assert_eq!(read["scalars"].as_object().unwrap().len(), expected.len());
    for (tag, points) in &expected {
        let pairs = |points: &serde_json::Value| -> Vec<(u64, u32)> {
            let points = points.as_array().unwrap().iter();
            points
                .map(|point| {
                    (
                        point[0].as_u64().unwrap(),
                        (point[1].as_f64().unwrap() as f32).to_bits(),
                    )
                })
                .collect()
        };
        assert_eq!(pairs(&read["scalars"][tag]), pairs(points), "{tag}");
        assert!(
            pairs(points).windows(2).all(|two| two[0].0 < two[1].0),
            "{tag} must ascend"
        );
    }
    for (tag, points) in &texts {
        assert_eq!(&read["texts"][tag], points);
    }
    let data = read["texts"]["run/data"][0][1].as_str().unwrap();
    assert!(data.contains("built-in sample, not AG News"), "{data}");
    let kl = &read["histograms"]["kl/per_template_nats"];
    assert_eq!(kl.as_array().unwrap().len(), 4);
    assert_eq!(
        (kl[0][1].as_f64(), kl[0][5].as_f64()),
        (Some(8.0), Some(8.0))
    );
    let band = &read["layout"]["Disparity of n_matches"][0][2][0];
    assert_eq!(
        band,
        &serde_json::json!([
            "gender/disparity",
            "gender/disparity_low",
            "gender/disparity_high"
        ])
    );
    assert_eq!(read["hparams"]["values"]["train.lr"], 0.001);
    assert_eq!(read["hparams"]["status"], 1);
}
