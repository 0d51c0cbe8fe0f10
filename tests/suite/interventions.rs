//! Interventions: each against PyTorch doing the same by hand, and what a run with one leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use burn::tensor::Device;
use milepost::cadence::Cadence;
use milepost::clock::{Extent, Length};
use milepost::data::blocks::Blocks;
use milepost::data::order::epoch_order;
use milepost::intervention::{Control, Intervention, RunFacts};
use milepost::model::{Base, Lora, Network, Pair, Role, named_parameters};
use milepost::train::{Begin, Decay, InterventionSpec, Outcome, Plan, StopReason, finetune};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use toml::de::ValueDeserializer;

use crate::harness::{Project, close, fixture, milestones, numbers};
use crate::small_run::*;

/// Blocks of 16 of the formulas of `tests/fixtures/interventions/make_fixtures.py`.
pub(crate) fn blocks(count: u32, factors: [u32; 3], plus: u32) -> Blocks {
    let [of_block, square, of_place] = factors;
    let places = (0..count).flat_map(|block| (0..16u32).map(move |place| (block, place)));
    let ids = places.map(|(block, place)| {
        (block * of_block + place * place * square + place * of_place + plus) % 97
    });
    Blocks::cut(ids.collect(), 16).unwrap()
}

/// A run of 30 steps, three an epoch, at a constant rate and without dropout, with the interventions of a TOML text.
pub(crate) fn thirty_steps(directory: &Path, rate: f64, interventions: &str) -> Plan {
    let mut plan = plan(directory, 7, Length::Steps(30), Vec::new());
    let load = |name| Network::load(&fixture(name), &Device::flex().autodiff()).unwrap();
    let load = |name| load(name).with_dropout(0.0);
    plan.pair = Pair::new(load("main"), load("assistant")).unwrap();
    let documents = [(0, Some("short")), (5, None), (40, Some("long"))];
    let documents = documents.map(|(start, topic)| (start, topic.map(Arc::from)));
    plan.blocks = blocks(12, [131, 17, 7], 0).made_of(documents.into());
    let scene = Arc::get_mut(&mut plan.scene).unwrap();
    scene.held_out = Arc::new(blocks(3, [61, 5, 11], 3));
    plan.extent = Extent::new(12, 2, 2, 16, Length::Steps(30)).unwrap();
    let training = &mut plan.training;
    training.schedule.peak = rate;
    training.schedule.decay = Decay::Constant;
    training.weight_decay = 0.01.into();
    training.evaluate = Cadence::parse(&["steps 9999"]).unwrap();
    training.save = None;
    plan.interventions = specs(interventions, &plan);
    plan
}

/// The interventions of a TOML text, `at` its kind's cadence or its own.
fn specs(text: &str, plan: &Plan) -> Vec<InterventionSpec> {
    let names = |role| named_parameters(plan.pair.get(role));
    let facts = RunFacts {
        parameters: Role::BOTH.map(|role| names(role).into_iter().map(|one| one.0).collect()),
        trained: Role::BOTH.to_vec(),
        topics: vec!["long".to_owned(), "short".to_owned()],
    };
    let registry = milepost::hooks::shipping();
    let tables: toml::Table = text.parse().unwrap();
    let specs = tables.into_iter().map(|(name, table)| {
        let mut options = table.as_table().unwrap().clone();
        let kind = options.remove("kind").unwrap();
        let kind = registry.intervention(kind.as_str().unwrap()).unwrap();
        let at = options.remove("at");
        let at = match &at {
            Some(at) => at.as_str().unwrap(),
            None => kind.at.unwrap(),
        };
        let text = toml::to_string(&options).unwrap();
        let document = format!("x = {{ {} }}", text.lines().collect::<Vec<_>>().join(", "));
        let value = document.split_once(" = ").unwrap().1;
        let mut intervention = kind
            .build(ValueDeserializer::parse(value).unwrap())
            .unwrap();
        intervention.prepare(&facts).unwrap();
        InterventionSpec {
            name,
            kind: kind.name.to_owned(),
            at: Cadence::parse(&[at]).unwrap(),
            when: None,
            once: false,
            rolls_back: kind.rolls_back,
            intervention,
        }
    });
    specs.collect()
}

fn reference(name: &str) -> Value {
    let text = include_str!("../fixtures/interventions/reference.json");
    let all: Value = serde_json::from_str(text).unwrap();
    all[name].clone()
}

/// The lines of a run's record.
fn lines(run: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(run.join("milestones.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

/// Trains, and compares the training losses of both models with those of PyTorch, step by step.
fn trained_as_pytorch(name: &str, plan: Plan) -> (Outcome, Vec<Value>, Value) {
    let reference = reference(name);
    let (outcome, lines) = trained_as(name, plan, &reference["losses"]);
    (outcome, lines, reference)
}

/// Trains, and compares the training losses of both models with `expected`, step by step.
pub(crate) fn trained_as(name: &str, plan: Plan, expected: &Value) -> (Outcome, Vec<Value>) {
    let (outcome, _) = go(plan);
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    let lines = lines(&outcome.directory);
    for role in Role::BOTH {
        let tag = format!("train/{role}/loss");
        let expected = numbers(&expected[role.as_str()]);
        let found = lines.iter().filter_map(|line| {
            let value = line["scalars"][&tag].as_f64()?;
            Some((line["step"].as_u64().unwrap(), value))
        });
        let found: Vec<(u64, f64)> = found.collect();
        let steps: Vec<u64> = found.iter().map(|(step, _)| *step).collect();
        assert_eq!(steps, (1..=expected.len() as u64).collect::<Vec<_>>());
        for ((step, found), expected) in found.into_iter().zip(expected) {
            close(
                found,
                expected,
                1e-3,
                0.0,
                &format!("{name}, {tag}, {step}"),
            );
        }
    }
    (outcome, lines)
}

/// The lines of what interventions did: step, name, number of actions, text.
fn done(lines: &[Value]) -> Vec<(u64, String, f64, String)> {
    let done = lines.iter().filter(|line| line["event"] == "intervened");
    let done = done.map(|line| {
        let source = line["source"].as_str().unwrap();
        let name = source.strip_prefix("intervention/").unwrap();
        let actions = &line["scalars"][format!("{source}/actions")];
        let what = &line["texts"][format!("{source}/what")];
        (
            line["step"].as_u64().unwrap(),
            name.to_owned(),
            actions.as_f64().unwrap(),
            what.as_str().unwrap().to_owned(),
        )
    });
    done.collect()
}

#[test]
fn the_orders_of_the_fixture_are_those_of_the_program() {
    let text = include_str!("../fixtures/interventions/orders.json");
    let orders: Vec<Vec<usize>> = serde_json::from_str(text).unwrap();
    let own: Vec<Vec<usize>> = (0..24).map(|epoch| epoch_order(3, epoch, 12)).collect();
    assert_eq!(orders, own);
}

#[test]
fn early_stopping_ends_the_run_where_pytorch_would() {
    let folder = tempfile::tempdir().unwrap();
    let text = "stopping = { kind = 'early-stopping', patience = 3 }";
    let mut plan = thirty_steps(&folder.path().join("run"), 4e-3, text);
    plan.training.evaluate = Cadence::parse(&["every 2 steps"]).unwrap();
    let (outcome, lines, reference) = trained_as_pytorch("early_stopping", plan);
    let stopped = reference["stopped"].as_u64().unwrap();
    assert!(stopped < 30);
    assert_eq!(outcome.clock.step.0, stopped);
    let evaluated = lines
        .iter()
        .filter_map(|line| line["scalars"]["eval/main/loss"].as_f64());
    for (found, expected) in evaluated.zip(numbers(&reference["evaluated"])) {
        close(found, expected, 1e-3, 0.0, "held-out loss");
    }
    let done = done(&lines);
    assert_eq!(done.len(), 1);
    let (step, name, actions, what) = &done[0];
    assert_eq!((*step, name.as_str(), *actions), (stopped, "stopping", 1.0));
    assert!(what.contains("eval/main/loss is "), "{what}");
    let StopReason::Requested(reason) = &outcome.stop else {
        panic!("{:?}", outcome.stop);
    };
    assert!(what.ends_with(reason.as_str()));
}

#[test]
fn plateau_is_pytorchs_reduce_lr_on_plateau() {
    let folder = tempfile::tempdir().unwrap();
    let text = "slower = { kind = 'plateau', best = 'lowest eval/assistant/loss', factor = 0.5, patience = 1, threshold = 0.01, cooldown = 1, least_factor = 0.2 }";
    let mut plan = thirty_steps(&folder.path().join("run"), 4e-3, text);
    plan.training.evaluate = Cadence::parse(&["every 2 steps"]).unwrap();
    let (_, lines, reference) = trained_as_pytorch("plateau", plan);
    let rates = lines
        .iter()
        .filter_map(|line| line["scalars"]["train/lr"].as_f64());
    let rates: Vec<f64> = rates.collect();
    let expected = numbers(&reference["rates"]);
    assert_eq!(rates.len(), expected.len());
    for (step, (found, expected)) in rates.iter().zip(&expected).enumerate() {
        close(*found, *expected, 1e-12, 0.0, &format!("rate {step}"));
    }
    let steps: Vec<f64> = done(&lines).iter().map(|one| one.0 as f64).collect();
    assert_eq!(steps, numbers(&reference["changes"]));
}

#[test]
fn a_spike_is_taken_back_as_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let text = "back = { kind = 'loss-spike-rollback', window = 10, threshold = 1.3, rate_factor = 0.5, limit = 6 }";
    let mut plan = thirty_steps(&folder.path().join("run"), 1e-4, text);
    plan.training.save = Some(Cadence::parse(&["every 4 steps"]).unwrap());
    let (outcome, lines, reference) = trained_as_pytorch("loss_spike_rollback", plan);
    let expected = reference["done"].as_array().unwrap();
    let whats: Vec<String> = outcome
        .interventions
        .iter()
        .map(|done| done.what.clone())
        .filter(|what| what.starts_with("goes back"))
        .collect();
    assert_eq!(whats.len(), expected.len());
    for (what, expected) in whats.iter().zip(expected) {
        let [from, to, over] = [0, 1, 2].map(|at| expected[at].as_u64().unwrap());
        let steps = if over == 1 { "step" } else { "steps" };
        let said = format!(
            "goes back from step {from} to step {to}, and passes over the data of {over} {steps}, and multiplies the learning rate by 0.5: "
        );
        assert!(what.starts_with(&said), "{what}, not {said}");
    }
    // What was undone is in the record no more, except that it was.
    let steps = lines.iter().filter(|line| line["source"] == "train");
    let steps: Vec<u64> = steps.map(|line| line["step"].as_u64().unwrap()).collect();
    assert!(steps.is_sorted());
}

#[test]
fn frozen_parameters_are_those_of_requires_grad() {
    let folder = tempfile::tempdir().unwrap();
    let text = "
        block = { kind = 'freeze', model = 'main', parameters = ['h.0', 'wte'] }
        norms = { kind = 'freeze', model = 'assistant', parameters = ['*ln_*'], at = 'steps 5' }
        thaw = { kind = 'freeze', model = 'main', parameters = ['h.0'], thaw = true, at = 'steps 10' }";
    let run = folder.path().join("run");
    let plan = thirty_steps(&run, 2e-3, text);
    let start = plan.pair.clone();
    trained_as_pytorch("freeze", plan);
    let of = |model: &Network| -> BTreeMap<String, Vec<f32>> {
        let named = named_parameters(model).into_iter();
        let named = named.map(|(name, data)| (name, data.try_into_vec::<f32>().unwrap()));
        named.collect()
    };
    let end = Network::load(&run.join("models/main"), &Device::flex()).unwrap();
    let (start, end) = (of(&start.main), of(&end));
    assert_eq!(start["wte.weight"], end["wte.weight"]);
    assert_ne!(start["h.0.mlp.c_fc.weight"], end["h.0.mlp.c_fc.weight"]);
}

#[test]
fn the_learning_rate_is_multiplied_where_it_is_due() {
    let folder = tempfile::tempdir().unwrap();
    let text = "down = { kind = 'learning-rate', factor = 0.25, at = 'steps 5, 12' }";
    let (_, lines, _) = trained_as_pytorch(
        "learning_rate",
        thirty_steps(&folder.path().join("run"), 3e-3, text),
    );
    let done = done(&lines);
    let steps: Vec<(u64, f64)> = done.iter().map(|one| (one.0, one.2)).collect();
    assert_eq!(steps, [(5, 1.0), (12, 2.0)]);
}

#[test]
fn topics_weigh_what_they_are_said_to() {
    let folder = tempfile::tempdir().unwrap();
    let text = "
        more = { kind = 'data-weight', topic = 'short', weight = 4.0 }
        less = { kind = 'data-weight', topic = 'long', weight = 0.25, at = 'steps 7' }";
    trained_as_pytorch(
        "data_weight",
        thirty_steps(&folder.path().join("run"), 2e-3, text),
    );
}

#[test]
fn the_rest_of_an_epoch_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    // At the end of an epoch there is nothing to pass over.
    let text = "skip = { kind = 'skip-epoch', at = 'steps 2, 3, 4, 11, 20' }";
    let plan = thirty_steps(&folder.path().join("run"), 2e-3, text);
    let (outcome, _, reference) = trained_as_pytorch("skip_epoch", plan);
    assert_eq!(outcome.clock.step.0, 30);
    assert_eq!(outcome.clock.epoch.0, reference["epochs"].as_u64().unwrap());
}

/// Goes back once, at step 10, and changes nothing.
struct Back;

impl Intervention for Back {
    fn intervene(&mut self, control: &mut Control) -> anyhow::Result<()> {
        if control.milestone().step == 10 && control.rollbacks() == 0 {
            control.roll_back(false, 1.0, "a test");
        }
        Ok(())
    }
}

/// A run that goes back to a checkpoint and changes nothing is then the run that never went back, bit for bit: weights, optimisers and record.
#[test]
fn a_rollback_is_exact() {
    let models = ["main", "assistant"].map(|model| format!("models/{model}/model.safetensors"));
    goes_back_exactly(&models, |pair| pair);
}

/// A checkpoint has the adapters alone.
#[test]
fn a_rollback_of_adapters_is_exact() {
    let lora = Lora {
        r: 2,
        alpha: 4.0,
        target_modules: vec!["c_attn".to_owned(), "c_fc".to_owned()],
        dropout: 0.1,
        use_rslora: false,
    };
    let base = Base {
        name: "the/base".to_owned(),
        revision: None,
    };
    let models = [
        "models/main/adapter_model.safetensors".to_owned(),
        "models/assistant/model.safetensors".to_owned(),
    ];
    goes_back_exactly(&models, |mut pair| {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let adapted = pair.main.with_fresh_adapters(&lora, base.clone(), &mut rng);
        pair.main = adapted.unwrap();
        pair
    });
}

fn goes_back_exactly(models: &[String; 2], made: impl Fn(Pair) -> Pair) {
    let folder = tempfile::tempdir().unwrap();
    let train = |name: &str, interventions: Vec<InterventionSpec>| {
        let mut plan = thirty_steps(&folder.path().join(name), 6e-3, "");
        plan.pair = made(plan.pair);
        plan.extent = Extent::new(12, 2, 2, 16, Length::Steps(14)).unwrap();
        plan.training.save = Some(Cadence::parse(&["every 4 steps"]).unwrap());
        plan.interventions = interventions;
        go(plan).0
    };
    let back = InterventionSpec {
        name: "back".to_owned(),
        kind: "back".to_owned(),
        at: Cadence::parse(&["every step"]).unwrap(),
        when: None,
        once: false,
        rolls_back: true,
        intervention: Box::new(Back),
    };
    let (without, with) = (train("without", Vec::new()), train("with", vec![back]));
    assert_eq!(with.interventions.len(), 1);
    let record = |outcome: &Outcome| -> Vec<Value> {
        let lines = lines(&outcome.directory).into_iter();
        let mut lines: Vec<Value> = lines.filter(|line| line["event"] != "intervened").collect();
        for line in &mut lines {
            line.as_object_mut().unwrap().remove("times");
        }
        lines
    };
    assert_eq!(record(&with), record(&without));
    for file in [
        models[0].as_str(),
        &models[1],
        "checkpoints/step-00000012/main.optimiser.safetensors",
    ] {
        let bytes = |outcome: &Outcome| std::fs::read(outcome.directory.join(file)).unwrap();
        assert!(bytes(&with) == bytes(&without), "{file}");
    }
}

/// An intervention that errs ends the run: the training without it would be another.
#[test]
fn an_intervention_that_errs_ends_the_run() {
    type Fault = fn(&mut Control);
    struct Fails(Fault);
    impl Intervention for Fails {
        fn intervene(&mut self, control: &mut Control) -> anyhow::Result<()> {
            if control.milestone().step == 3 {
                (self.0)(control);
            }
            Ok(())
        }
    }
    let faults: [(Fault, &str); 6] = [
        (|_| panic!("it panicked"), "it panicked"),
        (
            |control| control.weigh("long", 0.0, "nothing"),
            "must be a number above 0, not 0",
        ),
        (
            |control| control.weigh("lang", 2.0, "a slip"),
            "no training document has the topic `lang`",
        ),
        (
            |control| control.freeze(Role::Main, BTreeSet::from(["h.0.mlp".to_owned()]), "a slip"),
            "no parameter of the main model that learns is `h.0.mlp`",
        ),
        (
            |control| control.scale_rate(f64::NAN, "nothing"),
            "must be a number above 0, not NaN",
        ),
        (
            |control| control.roll_back(true, 1.0, "nothing was declared"),
            "InterventionKind::rolls_back",
        ),
    ];
    for (fails, expected) in faults {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        let mut plan = thirty_steps(&run, 1e-3, "");
        plan.interventions = vec![InterventionSpec {
            name: "fails".to_owned(),
            kind: "fails".to_owned(),
            at: Cadence::parse(&["every step"]).unwrap(),
            when: None,
            once: false,
            rolls_back: false,
            intervention: Box::new(Fails(fails)),
        }];
        let never = AtomicBool::new(false);
        let ended = finetune(plan, Begin::Anew, &mut Trace::default(), &never);
        let message = ended.unwrap_err().to_string();
        assert!(message.starts_with("intervention `fails`: "), "{message}");
        assert!(message.contains(expected), "{message}");
        assert!(!run.join("models").exists());
    }
}

/// A small experiment with these interventions, and hooks below them.
fn with(interventions: &str) -> String {
    let project = Project::new();
    let text = project.read("small.toml");
    let (settings, hooks) = text.split_once("[hooks.").unwrap();
    format!("{settings}{interventions}\n[hooks.{hooks}")
}

#[test]
fn what_cannot_be_done_is_refused_before_the_run_with_its_place() {
    let project = Project::new();
    for (interventions, said) in [
        (
            "[interventions.early-stoping]",
            &[
                "unknown kind of intervention `early-stoping`",
                "`early-stopping`",
            ][..],
        ),
        (
            "[interventions.x]\nkind = 'perplexity'",
            &["`perplexity` is a hook: write [hooks.x]"],
        ),
        (
            "[interventions.stop]\nat = 'steps 2'\nruns = 'background'",
            &["`runs` is a key of hooks", "never in the background"],
        ),
        (
            "[interventions.stop]\non = 'evaluated'",
            &["`on` is a key of hooks"],
        ),
        (
            "[interventions.stop]\nat = 'every 5 min'",
            &["must not depend on time"],
        ),
        (
            "[interventions.stop]",
            &["a `stop` must be told when: give `at` or `when`"],
        ),
        (
            "[interventions.stop]\nat = 'steps 99999'",
            &["intervention `stop` is never asked in a run of"],
        ),
        (
            "[interventions.stop]\nwhen = 'train/main/los < 2'",
            &[
                "neither the loop nor a hook of this experiment records `train/main/los`",
                "`train/main/loss`",
            ],
        ),
        (
            "[interventions.early-stopping]\nbest = 'lowest eval/man/loss'",
            &["records `eval/man/loss`", "best = 'lowest eval/man/loss'"],
        ),
        (
            "[interventions.early-stopping]\nbest = 'eval/main/loss'",
            &["does not say which is the best"],
        ),
        (
            "[interventions.early-stopping]\npatience = 0",
            &["patience = 0", "must be at least 1"],
        ),
        (
            "[interventions.early-stopping]\npatince = 2",
            &[
                "intervention kind `early-stopping` has no option `patince`",
                "`patience`",
            ],
        ),
        (
            "[interventions.plateau]\nfactor = 1.5",
            &["factor = 1.5", "must be above 0 and below 1"],
        ),
        (
            "[interventions.freeze]\nparameters = ['h.0', 'wtf']",
            &["`wtf` is no parameter of the main model", "wte"],
        ),
        ("[interventions.freeze]\nmodel = 'asistant'", &["asistant"]),
        (
            "[interventions.data-weight]\ntopic = 'Sport'\nweight = 2.0",
            &["must be one of", "Sports"],
        ),
        (
            "[interventions.data-weight]\ntopic = 'Sports'\nweight = 0.0",
            &["must be above 0"],
        ),
        (
            "[interventions.loss-spike-rollback]\npass_over = false",
            &["the same steps would come to the same spike"],
        ),
        (
            "[interventions.learning-rate]\nat = 'steps 2'\nfactor = -1.0",
            &["must be a number above 0"],
        ),
        (
            "[interventions]\nstop = 3",
            &["intervention `stop` must be a table"],
        ),
        (
            "[interventions.'a/b']\nkind = 'stop'",
            &["not an intervention's name"],
        ),
    ] {
        project.write("small.toml", with(interventions));
        let message = project.fails(&["plan", "small.toml"], 2);
        for said in said {
            assert!(message.contains(said), "{interventions}: {message}");
        }
    }
}

/// The tag of a background hook is recorded at a step that depends on the machine.
#[test]
fn a_tag_of_a_background_hook_is_refused() {
    let project = Project::new();
    project.write(
        "small.toml",
        with("[interventions.early-stopping]\nbest = 'lowest kl/mean_nats'"),
    );
    let message = project.fails(&["plan", "small.toml"], 2);
    let said = "comes from a background hook, `template-kl`";
    assert!(message.contains(said), "{message}");
}

/// What an intervention will do is said before the run, and what it did after it: on the terminal, in the record and in the report.
#[test]
fn a_run_says_what_interventions_did() {
    let project = Project::new();
    project.write(
        "small.toml",
        with(
            "[interventions.late]\nkind = 'learning-rate'\nfactor = 0.5\nat = 'steps 1'\n[interventions.enough]\nkind = 'stop'\nwhen = 'train/main/loss > 0 for 2 steps'",
        ),
    );
    let out = |arguments: &[&str]| {
        let assert = project.milepost(arguments).assert().success();
        String::from_utf8(assert.get_output().stdout.clone()).unwrap()
    };
    let plan = out(&["plan", "small.toml"]);
    for said in [
        "interventions, which change the training: this run is not the one without them",
        "  late    learning-rate: multiplies the learning rate",
        "asked steps 1\n",
        "asked every step when train/main/loss > 0.0 for 2 steps",
        "[intervened]",
    ] {
        assert!(plan.contains(said), "{said}: {plan}");
    }
    let said = out(&["finetune", "small.toml", "--name", "a"]);
    let done = "intervention `late` at step 1 multiplies the learning rate by 0.5: it was due";
    assert!(said.contains(done), "{said}");
    assert!(said.contains("ended early, after step 2: "), "{said}");
    let run = project.path().join("runs/small/a");
    let report = std::fs::read_to_string(run.join("report.html")).unwrap();
    assert!(report.contains("The intervention `late` at step 1 multiplies"));
    let outcome = std::fs::read_to_string(run.join("outcome.json")).unwrap();
    let outcome: Value = serde_json::from_str(&outcome).unwrap();
    assert_eq!(outcome["stop"], "requested");
    let names = outcome["interventions"].as_array().unwrap().iter();
    let names: Vec<&str> = names.map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["late", "enough"]);
    let rates = milestones(&run).into_iter();
    let rates = rates.filter_map(|line| line["scalars"]["train/lr"].as_f64());
    let rates: Vec<f64> = rates.collect();
    assert_eq!(rates.len(), 2);
    // A run without interventions has the settings of one from before them.
    let resolved = std::fs::read_to_string(run.join("experiment.toml")).unwrap();
    assert!(resolved.contains("[interventions.late]"), "{resolved}");
    let listed = out(&["hooks", "plateau"]);
    assert!(
        listed.contains("ReduceLROnPlateau") && listed.contains("cooldown"),
        "{listed}"
    );
}
