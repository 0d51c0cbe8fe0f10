//! `milepost plan`: the loop as it is drawn, with the hooks in it, and what they cost in a former run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use milepost::cadence::{Cadence, Moment};
use milepost::clock::{Extent, Length, Step};
use milepost::event::{Axis, Event, LOOP, LoopLine, Unit, What};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error, StrDeserializer};

use crate::harness::{Project, milestones};
use crate::small_run;

/// Two epochs of 4 steps, the second cut short; a step has two micro-batches.
const EXPERIMENT: &str = r#"
[data]
source = "sample"
train_articles = 8
test_articles = 20
[train]
max_steps = 5
batch = 1
accumulation = 2
block = 32
lr = 1e-3
evaluate = ["start", "every 2 steps"]
save = "steps 2, 3"
[templates]
file = "templates.tsv"
[hooks.settled]
kind = "perplexity"
at = ["start", "every 3 steps", "every epoch", "end"]
[hooks.ends]
kind = "perplexity"
at = ["start", "end"]
[hooks.now-and-then]
kind = "perplexity"
at = "every 10 h"
[hooks.passes]
kind = "perplexity"
at = "every 2 steps"
on = "micro-batch-end"
[hooks.gradient-norm]
at = "every step"
[hooks.evaluations]
kind = "perplexity"
at = ["start", "every step"]
on = "evaluated"
[hooks.checkpoints]
kind = "perplexity"
at = "steps 3"
on = "checkpoint-saved"
[hooks.failures]
kind = "perplexity"
at = "end"
on = "run-failed"
[hooks.resumes]
kind = "perplexity"
on = "checkpoint-loaded"
[hooks.held-out]
kind = "perplexity"
at = ["start", "every 2 steps"]
on = "evaluation-batch-end"
[hooks.first]
kind = "perplexity"
at = ["every 2 steps", "end"]
once = true
[hooks.low]
kind = "perplexity"
at = ["start", "every step"]
when = "train/main/loss < 100"
[hooks.lower]
kind = "perplexity"
at = ["every step", "every 1 h"]
when = "train/main/loss falls"
once = true
[hooks.closes]
kind = "perplexity"
at = "start"
on = "run-end"
[hooks.closes-first]
kind = "perplexity"
on = "run-end"
"#;

const DRAWN: &str = r#"the loop, with the hooks (*) that are called in it
  [checkpoint-loaded]                       when a run is resumed, before its next step
    * resumes        background, if the run is resumed
  [evaluation-start]                        when `train.evaluate` is due at the start
      for each held-out batch               2 in an evaluation
          evaluation-batch-end
            * held-out       background, 2 times (step 0)
  run-start                                 step 0: the pair before training
    * settled        background, once (step 0)
    * ends           background, once (step 0)
    * low            background, at most once (step 0), when train/main/loss < 100.0
  [evaluated]                               the result of the evaluation at the start
    * evaluations    background, once (step 0)
  for each epoch                            2 in this run
      epoch-start
      for each step                         5 in this run
          step-start
          for each micro-batch              10 in this run
              batch-ready                   its rows are fetched
              forward pass of each trained model
              backward-start
              backward pass of each trained model
              micro-batch-end
                * passes         background, 4 times (steps 2, 4)
          gradients-ready                   all gradients summed, before clipping
            * gradient-norm  inline, 5 times (steps 1, 2, 3, 4, 5)
          gradients-clipped                 after clipping, before the optimisers move
          optimiser step of each trained model
          weights-updated
          [evaluation-start]                when `train.evaluate` is due or a hook asked for it
              for each held-out batch       2 in an evaluation
                  evaluation-batch-end
                    * held-out       background, 4 times (steps 2, 4)
              evaluated
                * evaluations    background, 2 times (steps 2, 4)
          step-end
            * settled        background, once (step 3)
            * now-and-then   background, as time passes
            * first          background, once (step 2)
            * low            background, at most 5 times (steps 1, 2, 3, 4, 5), when train/main/loss < 100.0
            * lower          background, at most once in the run, perhaps as time passes (steps 1, 2, 3, 4, 5), when train/main/loss falls
          [epoch-end]                       after the last step of an epoch
            * settled        background, once (step 4)
          [checkpoint-saved]                when `train.save` is due or a hook asked for it
            * checkpoints    background, once (step 3)
  [checkpoint-saved]                        when `train.save` is due and the run ends early
    * checkpoints    background, if it is due then
  [evaluation-start]                        when `train.evaluate` is due and the run ends early
      for each held-out batch               2 in an evaluation
          evaluation-batch-end
            * held-out       background, if it is due then
      evaluated
        * evaluations    background, if it is due then
  run-end                                   the last event of a run that ends well
    * settled        background, once (step 5)
    * ends           background, once (step 5)
    * closes-first   inline, once (step 5)
    * closes         inline, once (step 5)
  [run-failed]                              the last event of a run that fails
    * failures       inline, if the run fails
hooks are placed by `at` or by `on = "EVENT"`: docs/hooks.md, When and where
"#;

fn project() -> Project {
    let project = Project::new();
    project.write("moments.toml", EXPERIMENT);
    project
}

/// The resolved settings and the rest of what `plan` says.
fn plan(project: &Project, more: &[&str]) -> (String, String) {
    let arguments = [&["plan", "moments.toml"], more].concat();
    let assert = project.milepost(&arguments).assert().success();
    let shown = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    let (settings, rest) = shown.split_once("\nsettings  ").unwrap();
    (settings.to_owned(), rest.to_owned())
}

/// The events at which each hook is drawn, with the least and the most calls that it is drawn with. What depends on time or on how the run
/// ends is left out.
fn drawn_calls(drawn: &str) -> BTreeMap<(String, String), [usize; 2]> {
    let mut calls = BTreeMap::new();
    let mut event = "";
    for line in drawn.lines() {
        let Some(hook) = line.trim_start().strip_prefix("* ") else {
            event = line.split_whitespace().next().unwrap_or("");
            event = event.trim_matches(['[', ']']);
            continue;
        };
        let (name, when) = hook.split_once(' ').unwrap();
        let (_, when) = when.split_once(", ").unwrap();
        let (least, when) = match when.strip_prefix("at most ") {
            Some(when) => (0, when),
            None => (1, when),
        };
        let count = match when.split(' ').next().unwrap() {
            "once" => 1,
            count => match count.parse() {
                Ok(count) => count,
                Err(_) => continue,
            },
        };
        let own: &mut [usize; 2] = calls
            .entry((name.to_owned(), event.to_owned()))
            .or_default();
        own[0] += least * count;
        own[1] += count;
    }
    calls
}

#[test]
fn the_loop_is_drawn_with_its_hooks_as_the_run_then_calls_them() {
    let project = project();
    let (_, shown) = plan(&project, &[]);
    let drawn = &shown[shown.find("the loop").unwrap()..];
    assert_eq!(drawn, DRAWN);
    assert!(!project.path().join("runs").exists());
    let run = ["finetune", "moments.toml", "--name", "a"];
    project.milepost(&run).assert().success();
    let mut called: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut at_the_end = Vec::new();
    for line in milestones(&project.path().join("runs/moments/a")) {
        let text = |key: &str| line[key].as_str().unwrap().to_owned();
        if !["train", "eval"].contains(&&*text("source")) {
            *called.entry((text("source"), text("event"))).or_default() += 1;
            if text("event") == "run-end" {
                at_the_end.push(text("source"));
            }
        }
    }
    let drawn = drawn_calls(DRAWN);
    for (place, [least, most]) in &drawn {
        let count = called.get(place).copied().unwrap_or(0);
        assert!((*least..=*most).contains(&count), "{place:?}: {count}");
    }
    assert!(called.keys().all(|place| drawn.contains_key(place)));
    // The condition of `low` is true whenever there is a loss.
    assert_eq!(called[&("low".to_owned(), "step-end".to_owned())], 5);
    // At the end they are called in the order of the drawing.
    let (_, end) = DRAWN.split_once("\n  run-end").unwrap();
    let (end, _) = end.split_once("\n  [run-failed]").unwrap();
    let names = end.lines().skip(1);
    let names = names.map(|line| line.split_whitespace().nth(1).unwrap());
    assert_eq!(names.collect::<Vec<_>>(), at_the_end);
    // Of what cannot be counted to its end, the least is said.
    let set = "train.max_steps=1_000_000_000 hooks.settled.at=['every step','every epoch']";
    let (_, shown) = plan(&project, &["--set", set]);
    for line in [
        "* settled        background, more than 100000 times (steps 1, 2, 3, 4, 5, 6, ...)\n",
        "* settled        background, more than 0 times\n",
        "* low            background, as often as its condition allows (steps 1, 2, 3, 4, 5, 6, ...), when train/main/loss < 100.0\n",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
    // Without hooks the events are still there.
    let (_, shown) = plan(&project, &["--no-hooks"]);
    assert!(shown.contains("gradients-clipped") && !shown.contains("  * "));
}

/// A hook that is called only once is drawn where its first call is, and elsewhere only where wall time may call it earlier.
#[test]
fn a_hook_that_is_called_once_is_drawn_where_that_may_be() {
    let project = project();
    for (at, lines) in [
        (
            "'every epoch', 'every 10 h', 'start'",
            &["run-start once (step 0)"][..],
        ),
        (
            "'every 10 h', 'end'",
            &[
                "step-end at most once in the run, perhaps as time passes",
                "run-end at most once in the run (step 5)",
            ],
        ),
        (
            "'every 10 h', 'steps 5', 'every epoch'",
            &[
                "step-end at most once in the run, perhaps as time passes",
                "epoch-end at most once in the run (step 4)",
            ],
        ),
        ("'steps 3, 5', 'end'", &["step-end once (step 3)"]),
    ] {
        let set = format!("hooks={{one={{kind='perplexity', at=[{at}], once=true}}}}");
        let (_, shown) = plan(&project, &["--set", &set]);
        let mut found = Vec::new();
        let mut event = "";
        for line in shown.lines() {
            match line.trim_start().strip_prefix("* one  background, ") {
                Some(when) => found.push(format!("{event} {when}")),
                None => {
                    event = line
                        .split_whitespace()
                        .next()
                        .unwrap_or("")
                        .trim_matches(['[', ']'])
                }
            }
        }
        assert_eq!(found, lines, "{at}");
    }
    let set = "hooks={one={kind='perplexity', on='evaluation-batch-end', at=['start', 'every step'], once=true}}";
    let (_, shown) = plan(&project, &["--set", set]);
    assert_eq!(shown.matches("* one").count(), 1, "{shown}");
    assert!(
        shown.contains("* one  background, once (step 0)\n"),
        "{shown}"
    );
}

/// All variants of `Event`, as serde knows them.
fn events() -> Vec<Event> {
    let none: StrDeserializer<Error> = "none".into_deserializer();
    let message = Event::deserialize(none).unwrap_err().to_string();
    let names = message.split('`').skip(3).step_by(2);
    let events = names.map(|name| {
        let name: StrDeserializer<Error> = name.into_deserializer();
        Event::deserialize(name).unwrap()
    });
    events.collect()
}

#[test]
fn every_event_is_a_line_of_the_loop() {
    let events = events();
    assert!(events.contains(&Event::RunStart) && events.contains(&Event::RunFailed));
    for event in events {
        let lines = LOOP.iter().filter(|line| line.event() == Some(event));
        assert!(lines.count() > 0, "{event} is no line of LOOP");
    }
}

#[test]
fn the_axis_of_an_event_counts_the_loop_that_it_is_in() {
    for (index, line) in LOOP.iter().enumerate() {
        let Some(event) = line.event() else { continue };
        let before = LOOP[..index].iter().rev();
        let around = before.clone().find(|one| one.depth < line.depth);
        let axis = match around.map(|line| line.what) {
            Some(What::Each(Unit::MicroBatch)) => Axis::MicroBatches,
            Some(What::Each(Unit::EvaluationBatch)) => Axis::EvaluationBatches,
            _ => Axis::Steps,
        };
        assert_eq!(event.axis(), axis, "{event}");
    }
}

#[test]
fn the_comment_on_events_is_the_loop() {
    let source = include_str!("../../src/event.rs");
    let comment = source.split("```").nth(1).unwrap();
    let comment = comment.strip_prefix("text\n").unwrap();
    let comment: Vec<&str> = comment
        .lines()
        .filter_map(|line| line.strip_prefix("/// "))
        .filter(|line| !line.is_empty())
        .collect();
    let name = |event: Event| format!("{event:?}");
    let drawn: Vec<String> = LOOP
        .iter()
        .map(|line| line.text(name, line.about))
        .collect();
    assert_eq!(comment, drawn);
}

/// The drawing in docs/hooks.md, which leaves hooks out but no line of the loop.
#[test]
fn the_drawing_in_the_documentation_is_what_plan_draws() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
    let project = Project::new();
    project.write("ag_news.toml", read("experiments/ag_news.toml"));
    let assert = project
        .milepost(&["plan", "ag_news.toml"])
        .assert()
        .success();
    let shown = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    let pages = read("docs/hooks.md");
    let block = pages
        .split("```")
        .find(|block| block.contains("\n  run-start  "))
        .unwrap();
    let kept = |line: &&str| {
        let hook = line.trim_start().strip_prefix("* ");
        let name = hook.and_then(|hook| hook.split(' ').next());
        name.is_none_or(|name| ["template-kl", "honest", "gradient-norm"].contains(&name))
    };
    let from = shown.find("  [checkpoint-loaded]").unwrap();
    let to = shown.find("hooks are placed").unwrap();
    let drawn: Vec<&str> = shown[from..to].lines().filter(kept).collect();
    assert_eq!(block.trim_matches('\n'), drawn.join("\n"));
}

/// The events of a run, walked along the lines of the loop.
struct Walk<'a> {
    events: std::iter::Peekable<std::slice::Iter<'a, &'a str>>,
    extent: &'a Extent,
    evaluation_batches: u64,
    steps: u64,
}

impl Walk<'_> {
    fn all(&mut self, lines: &[LoopLine]) {
        let mut rest = lines;
        while let Some((line, below)) = rest.split_first() {
            let deeper = below.iter().take_while(|one| one.depth > line.depth);
            let (body, after) = below.split_at(deeper.count());
            rest = after;
            match line.what {
                What::Work(_) => {}
                What::Always(event) => {
                    assert_eq!(self.events.next(), Some(&event.as_str()));
                }
                What::Sometimes(event) => {
                    let next = self.events.next_if(|one| **one == event.as_str());
                    if next.is_some() {
                        self.all(body);
                    }
                }
                What::Each(unit) => self.each(unit, body),
            }
        }
    }

    fn each(&mut self, unit: Unit, body: &[LoopLine]) {
        let done = |steps: u64| self.extent.clock_after(Step(steps)).micro_batch.0;
        let in_epoch = self.extent.steps_per_epoch();
        let left = self.extent.steps() - self.steps;
        let times = match unit {
            Unit::Epoch => self.extent.epochs(),
            Unit::Step => left.min(in_epoch - self.steps % in_epoch),
            Unit::MicroBatch => done(self.steps + 1) - done(self.steps),
            Unit::EvaluationBatch => self.evaluation_batches,
        };
        for _ in 0..times {
            self.all(body);
            self.steps += u64::from(unit == Unit::Step);
        }
    }
}

/// Runs of other shapes have exactly the events of the lines, in their order.
#[test]
fn the_lines_of_the_loop_are_the_events_of_runs() {
    for (blocks, length, batch) in [
        (7, Length::Steps(3), 1),
        (4, Length::Epochs(2), 2),
        (3, Length::Steps(1), 4),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut plan = small_run::plan(&folder.path().join("run"), blocks, length, Vec::new());
        let scene = Arc::get_mut(&mut plan.scene).unwrap();
        scene.batch = batch;
        let held_out = scene.held_out.len();
        let extent = plan.extent.clone();
        let (_, trace) = small_run::go(plan);
        let events: Vec<&str> = trace
            .events
            .iter()
            .map(|event| event.split(' ').next().unwrap())
            .collect();
        let mut walk = Walk {
            events: events.iter().peekable(),
            extent: &extent,
            evaluation_batches: held_out.div_ceil(batch) as u64,
            steps: 0,
        };
        walk.all(LOOP);
        assert_eq!(walk.events.next(), None, "{events:?}");
    }
}

proptest::proptest! {
    /// The moments of a cadence's firings, together, are its firings; and each is due at its moment by the rule that a run follows.
    #[test]
    fn firings_by_moment_are_all_firings(
        blocks in 1u64..9,
        accumulation in 1u64..3,
        amount in 1u64..12,
        clauses in proptest::sample::subsequence(vec![
            "start", "every 2 steps", "every epoch", "every 2 epochs from step 3", "every 40%", "log2 steps until step 4",
            "steps 0, 3, 5", "every 40 tokens", "end", "every 1 h",
        ], 1..5),
    ) {
        let extent = Extent::new(blocks, 2, accumulation, 16, Length::Steps(amount)).unwrap();
        let cadence = Cadence::parse(&clauses).unwrap();
        let moments = [Moment::Start, Moment::Step, Moment::EpochEnd, Moment::End];
        let mut all = Vec::new();
        for moment in moments {
            for step in cadence.firings_at(moment, &extent).flatten() {
                let (before, now) = match step.0 {
                    0 => (extent.clock_after(step), extent.clock_after(step)),
                    done => (extent.clock_after(Step(done - 1)), extent.clock_after(step)),
                };
                proptest::prop_assert!(cadence.due(moment, &before, &now, &extent), "{moment:?} {step}");
                all.push(step);
            }
        }
        all.sort_unstable();
        let expected: Vec<Step> = cadence.firings(&extent).collect();
        proptest::prop_assert_eq!(all, expected);
    }
}

/// Lines of a former run in which each time is chosen: the calls of hooks, and the clock at the end of each step.
fn lines(gradient_norm: [f64; 4], settled: &[f64]) -> String {
    let mut text = String::new();
    let mut line = |step: usize, source: &str, more: &str| {
        text += &format!(
            "{{\"step\":{step},\"event\":\"step-end\",\"source\":\"{source}\",\"epoch\":0,\"samples\":1,\"tokens\":1,{more}}}\n"
        );
    };
    let call = |name: &str, seconds: f64| {
        format!(
            "\"scalars\":{{}},\"times\":{{\"hook/{name}/seconds\":{seconds:?},\"elapsed\":1.0}}"
        )
    };
    // The steps themselves take 2, 1, and 4 seconds; the norm of the gradients is in them.
    let mut elapsed = 10.0;
    for (index, (own, norm)) in [9.0, 2.0, 1.0, 4.0].iter().zip(gradient_norm).enumerate() {
        line(index + 1, "gradient-norm", &call("gradient-norm", norm));
        elapsed += own + norm;
        let at = format!("\"scalars\":{{\"train/lr\":0.1}},\"times\":{{\"elapsed\":{elapsed:?}}}");
        line(index + 1, "train", &at);
    }
    for seconds in settled {
        line(4, "settled", &call("settled", *seconds));
    }
    let failed = call("settled", 1000.0) + ",\"texts\":{\"hook/settled/error\":\"no\"}";
    line(4, "settled", &failed);
    line(4, "low", &call("low", 0.5));
    line(4, "ends", &call("ends", 1000.0));
    line(4, "gone", &call("gone", 1000.0));
    text + "{\"step\":5,\"sour"
}

/// Puts a former run into place, written some seconds ago.
fn former(project: &Project, run: &str, settings: &str, lines: &str, ago: u64) {
    project.write(&format!("runs/{run}/experiment.toml"), settings);
    let name = format!("runs/{run}/milestones.jsonl");
    project.write(&name, lines);
    let file = std::fs::File::options()
        .append(true)
        .open(project.path().join(Path::new(&name)))
        .unwrap();
    let then = SystemTime::now() - Duration::from_secs(ago);
    file.set_modified(then).unwrap();
}

#[test]
fn costs_are_those_of_the_newest_run_that_has_them() {
    let project = project();
    let (settings, shown) = plan(&project, &[]);
    assert!(!shown.contains("what it will take"), "{shown}");
    // Another kind had the name `ends` then.
    let (before, after) = settings.split_once("[hooks.ends]").unwrap();
    let then = format!(
        "{}[hooks.ends]{}",
        before
            .replace("batch = 1\n", "batch = 3\n")
            .replace("seed = 1\n", "seed = 9\n"),
        after.replacen("kind = \"perplexity\"", "kind = \"drift\"", 1)
    );
    let measured = lines([0.5, 0.25, 0.5, 0.125], &[3.0, 0.5, 1.0]);
    former(
        &project,
        "moments/older",
        &then,
        &lines([7.0; 4], &[7.0]),
        300,
    );
    former(&project, "moments/sweep/seed=1", &then, &measured, 200);
    // Newer ones say nothing of these hooks, or are of another experiment.
    former(
        &project,
        "moments/bare",
        &then,
        "{\"step\":1,\"scalars\":{}}\n",
        100,
    );
    former(&project, "moments/broken", "= no", &measured, 90);
    former(&project, "other/a", &settings, &measured, 80);
    let (_, shown) = plan(&project, &[]);
    let (drawn, costs) = shown.split_once("\nwhat it will take").unwrap();
    assert!(drawn.ends_with("When and where\n"), "{drawn}");
    let rows: Vec<Vec<&str>> = costs
        .lines()
        .map(|row| row.split_whitespace().collect())
        .collect();
    let expected = [
        ", as measured in runs/moments/sweep/seed=1 (other settings there: train.batch)",
        "calls s a call seconds",
        // The median of 0.5, 1 and 3, four times.
        "settled 4 1.0000 4.00 background",
        "ends 2 - - not measured there",
        "now-and-then 0+ - - not measured there",
        "passes 4 - - not measured there",
        // The median of 0.125, 0.25, 0.5 and 0.5, five times.
        "gradient-norm 5 0.3750 1.88 inline",
        "evaluations 3 - - not measured there",
        "checkpoints 1 - - not measured there",
        // Three evaluations of two batches.
        "held-out 6 - - not measured there",
        "first 1 - - not measured there",
        // Its condition decides.
        "low 0-6 0.5000 0.00-3.00 background",
        "lower 0-1 - - not measured there",
        "closes 1 - - not measured there",
        "closes-first 1 - - not measured there",
        "inline hooks 1.88+ in the loop",
        "background hooks 4.00+ beside the training",
        // The median of 2, 1 and 4, five times.
        "training 5 2.0000 10.00 steps alone, without evaluation and checkpoints",
    ];
    let found: Vec<String> = rows.iter().map(|row| row.join(" ")).collect();
    assert_eq!(found, expected);
    // Columns stand below each other.
    let ends: BTreeSet<usize> = costs
        .lines()
        .skip(2)
        .take(13)
        .filter_map(|row| row.find(" background").or(row.find(" not measured")))
        .collect();
    assert_eq!(ends.len(), 1, "{costs}");
    // What conditions leave open is in the sum, too.
    let set = "hooks={settled={kind='perplexity',at='end'},low={kind='perplexity',at='every step',when='train/main/loss < 1'}}";
    let (_, shown) = plan(&project, &["--set", set]);
    let sum = shown.lines().find(|row| row.contains("background hooks"));
    let sum: Vec<&str> = sum.unwrap().split_whitespace().collect();
    assert_eq!(sum[2], "1.00-3.50", "{shown}");
    let (_, shown) = plan(&project, &["--runs", "elsewhere"]);
    assert!(!shown.contains("what it will take"), "{shown}");
}
