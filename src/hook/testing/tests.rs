//! Tests of the bench, with hooks that are right and hooks that are wrong on purpose.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{At, Bench, changed, decoded, probabilities};
use crate::event::Event;
use crate::hook::{Context, Hook, Kind, OptionError, Preparation, Request, When};
use crate::measure::decoding::DecodingTotals;
use crate::model::{Pair, Role, named_parameters};

/// Counts its calls. With the option `forgets`, a kill makes it lose the count.
struct Counter {
    options: Options,
    calls: u64,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    forgets: bool,
    column: usize,
    fails_at: u64,
    undeclared: bool,
    last_call: u64,
}

fn counter() -> Kind {
    Kind::new("counter", "calls", |options: Options| Counter {
        options,
        calls: 0,
    })
    .option("forgets", "whether it forgets")
    .option("column", "values of its column")
    .option("fails_at", "the step at which it fails")
    .option("last_call", "the call in which it ends its calls")
    .metric("counter/calls")
}

impl Hook for Counter {
    fn prepare(&mut self, _: &mut Preparation) -> Result<()> {
        let sound = self.options.column < 100;
        Ok(OptionError::unless(sound, "column", "too many")?)
    }

    fn at_milestone(&mut self, context: &mut Context) -> Result<()> {
        let step = context.milestone().step;
        anyhow::ensure!(step == 0 || step != self.options.fails_at, "told to");
        self.calls += 1;
        context.scalar("counter/calls", self.calls as f64);
        if self.options.column > 0 {
            context.per_template("column", vec![1.0; self.options.column]);
        }
        if self.calls == 2 {
            context.request_save();
        }
        if self.calls == self.options.last_call {
            context.detach();
        }
        Ok(())
    }

    fn state(&self) -> Value {
        json!(if self.options.forgets { 0 } else { self.calls })
    }

    fn restore(&mut self, state: Value) -> Result<()> {
        self.calls = serde_json::from_value(state)?;
        Ok(())
    }
}

fn said<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => "nothing".to_owned(),
        Err(error) => format!("{error:#}"),
    }
}

#[test]
fn a_hook_that_ends_its_calls_is_not_called_again() -> Result<()> {
    let bench = Bench::new()?;
    let reported = bench.killed_and_resumed(&counter(), "last_call = 2", [0, 3, 5, 6])?;
    assert_eq!(reported.detached(), Some(3));
    assert_eq!(reported.scalars("counter/calls"), [(0, 1.0), (3, 2.0)]);
    assert_eq!(bench.run(&counter(), "", [0, 3])?.detached(), None);
    Ok(())
}

#[test]
fn what_was_reported_can_be_asked_for() -> Result<()> {
    let bench = Bench::new()?;
    let reported = bench.run(&counter(), "column = 8", [0, 3, 5])?;
    assert_eq!(reported.scalar("counter/calls", 5)?, 3.0);
    let all = [(0, 1.0), (3, 2.0), (5, 3.0)];
    assert_eq!(reported.scalars("counter/calls"), all);
    assert_eq!(reported.per_template("column", 3)?, [1.0; 8]);
    assert_eq!(reported.requests(), [(3, Request::Save)]);
    assert_eq!(reported.state(), json!(3));
    let missing = said(reported.scalar("counter/call", 3));
    assert!(
        missing.contains("at step 3; reported there: `counter/calls`"),
        "{missing}"
    );
    let missing = said(reported.scalar("counter/calls", 4));
    assert!(
        missing.contains("no milestone at step 4; there were 0, 3, 5"),
        "{missing}"
    );
    assert!(said(reported.text("counter/calls", 0)).contains("no text"));
    Ok(())
}

#[test]
fn a_hook_that_forgets_is_caught_and_one_that_does_not_is_not() -> Result<()> {
    let bench = Bench::new()?;
    let kept = bench.killed_and_resumed(&counter(), "", [0, 2, 4])?;
    assert_eq!(kept.scalar("counter/calls", 4)?, 3.0);
    let forgot = said(bench.killed_and_resumed(&counter(), "forgets = true", [0, 2, 4]));
    assert!(
        forgot.contains(
            "killed before step 2, at step 2: scalar `counter/calls` is [1.0], and otherwise [2.0]"
        ),
        "{forgot}"
    );
    Ok(())
}

#[test]
fn what_a_run_would_refuse_is_refused() -> Result<()> {
    let bench = Bench::new()?;
    let run = |options: &str| said(bench.run(&counter(), options, [0, 2]));
    assert_eq!(run(""), "nothing");
    for (options, message) in [
        ("column = 7", "column `column` has 7 values for 8 templates"),
        ("column = 100", "`column`: too many"),
        ("column = \"x\"", "options of `counter`: invalid type"),
        ("column = ", "options of `counter`: "),
        (
            "undeclared = true",
            "no option `undeclared`; declare it by Kind::option",
        ),
        (
            "fails_at = 2",
            "hook `counter` at step 2 (step-end): told to",
        ),
    ] {
        let found = run(options);
        assert!(found.contains(message), "{options}: {found}");
    }
    let refused = bench.run(&counter(), "column = 100", [0]);
    let refused = refused.map(|_| ()).unwrap_err();
    assert_eq!(
        refused
            .downcast_ref::<OptionError>()
            .map(|error| error.option),
        Some("column")
    );
    assert!(said(bench.run(&counter(), "", [2, 2])).contains("once a step"));
    let bench = bench.steps(3);
    assert!(said(bench.run(&counter(), "", [4])).contains("step 4 of a run of 3 steps"));
    Ok(())
}

#[test]
fn a_declared_tag_that_is_never_reported_is_named() -> Result<()> {
    let bench = Bench::new()?;
    for (kind, tag) in [
        (counter().row("calls", "counter/cals"), "`counter/cals`"),
        (
            counter().interval("calls", "counter/calls"),
            "`counter/calls_low`",
        ),
        (counter().p_value("p", "counter/p"), "`counter/p`"),
        (counter().at_end("p", "counter/p"), "`counter/p`"),
        (
            counter().lines("c", "c", &["counter/calls", "counter/b"]),
            "`counter/b`",
        ),
        (
            counter().band("c", "c", "counter/calls"),
            "`counter/calls_low`",
        ),
        (counter().metric("counter/c"), "`counter/c`"),
    ] {
        let found = said(bench.run(&kind, "", [0]));
        assert!(
            found.contains(&format!("declares the tag {tag}")),
            "{found}"
        );
        assert_eq!(said(bench.part(&kind, "", [0])), "nothing");
        assert!(said(bench.killed_and_resumed(&kind, "", [0])).contains(tag));
    }
    let near = said(bench.run(&counter().row("calls", "counter/cals"), "", [0]));
    assert!(near.contains("it reported `counter/calls`"), "{near}");
    Ok(())
}

/// Reports what it sees in its context.
struct Witness;

#[derive(Default, Serialize, Deserialize)]
struct None {}

fn witness() -> Kind {
    Kind::new("witness", "what is seen", |_: None| Witness).compares_with_start()
}

#[test]
fn the_pair_of_the_start_is_kept_only_for_kinds_that_declare_it() -> Result<()> {
    let undeclared = Kind::new("witness", "what is seen", |_: None| Witness);
    let error = Bench::new()?.run(&undeclared, "", [0]).unwrap_err();
    let said = format!("{error:#}");
    assert!(said.contains("Kind::compares_with_start"), "{said}");
    Ok(())
}

impl Hook for Witness {
    fn at_milestone(&mut self, context: &mut Context) -> Result<()> {
        use rand::Rng;
        let milestone = context.milestone();
        context.scalar("total", milestone.total_steps as f64);
        context.scalar("clock", milestone.clock.step.0 as f64);
        context.scalar("micro", milestone.clock.micro_batch.0 as f64);
        for (role, loss) in &milestone.losses {
            context.scalar(format!("loss/{role}"), *loss);
        }
        if let Some(evaluation) = &milestone.evaluation {
            for (role, loss) in &evaluation.losses {
                context.scalar(format!("evaluated/{role}"), *loss);
            }
        }
        for (role, gradients) in context.gradients() {
            context.scalar(format!("gradient/{role}"), gradients.global_norm());
        }
        let drawn = context.rng().random::<f64>();
        context.scalar("drawn", drawn);
        let weight = |when| -> Result<f32> {
            let model = context.pair_of(when, when)?.main;
            let weights = named_parameters(&model);
            Ok(weights[0].1.iter::<f32>().nth(6).unwrap_or_default())
        };
        let (then, now) = (weight(When::Start)?, weight(When::Now)?);
        context.scalar("moved", f64::from(now) - f64::from(then));
        context.text("event", milestone.event.as_str());
        Ok(())
    }
}

#[test]
fn milestones_are_as_those_of_a_run() -> Result<()> {
    let bench = Bench::new()?.drift(Role::Main, 0.01);
    let seen = bench.run(&witness(), "", [0, 2])?;
    assert_eq!(seen.text("event", 0)?, "run-start");
    assert_eq!(seen.text("event", 2)?, "step-end");
    assert!(seen.scalar("loss/main", 0).is_err());
    assert_eq!(seen.scalar("total", 0)?, 2.0);
    assert_eq!(seen.scalar("clock", 2)?, 2.0);
    // Weight 6 of the first parameter moves as the bench documents it.
    let expected = 2.0 * 0.01 * 7.0_f64.sin();
    assert!((seen.scalar("moved", 2)? - expected).abs() < 1e-6);
    assert_ne!(seen.scalar("drawn", 0)?, seen.scalar("drawn", 2)?);
    let other = Bench::new()?.seed(1).run(&witness(), "", [0])?;
    assert_ne!(seen.scalar("drawn", 0)?, other.scalar("drawn", 0)?);

    let in_step = At::event(Event::GradientsReady, 2).loss(Role::Main, 0.5);
    let given = At::step(3).evaluated(Role::Main, 1.5);
    let evaluated = At::event(Event::Evaluated, 4);
    let seen = bench.run(&witness(), "", [in_step, given, evaluated])?;
    // In the middle of step 2, one step is done.
    assert_eq!(seen.scalar("clock", 2)?, 1.0);
    assert_eq!(seen.scalar("micro", 2)?, 2.0);
    assert!((seen.scalar("moved", 2)? - expected / 2.0).abs() < 1e-6);
    assert_eq!(seen.scalar("loss/main", 2)?, 0.5);
    assert!(seen.scalar("gradient/assistant", 2)? > 0.0);
    assert!(seen.scalar("gradient/main", 3).is_err());
    assert_eq!(seen.scalar("evaluated/main", 3)?, 1.5);
    assert!(seen.scalar("evaluated/assistant", 3).is_err());
    // A step's loss is computed with the weights before the step.
    let before = bench.run(&witness(), "", [At::event(Event::Evaluated, 3)])?;
    assert_eq!(
        seen.scalar("loss/main", 4)?,
        before.scalar("evaluated/main", 3)?
    );
    // A kind can be called at an event of its own.
    let at_clipped = bench.run(&witness().on(Event::GradientsClipped).inline(), "", [1])?;
    assert_eq!(at_clipped.text("event", 1)?, "gradients-clipped");
    assert!(said(bench.run(&witness().on(Event::StepStart), "", [0])).contains("first step is 1"));
    Ok(())
}

#[test]
fn the_slow_computations_agree_with_the_fast_ones() -> Result<()> {
    let bench = Bench::new()?;
    let (pair, scene) = (bench.pair_at(6), bench.scene());
    let decodings = decoded(&pair, scene, &scene.decode);
    for (prompt, decoding) in scene.prompts.iter().zip(&decodings) {
        let new = scene.decode.max_new_tokens;
        let greedy = crate::decode::greedy(&pair.main, prompt, new, &scene.ends)?;
        assert_eq!(decoding.tokens, greedy);
        for row in probabilities(&pair.main, prompt) {
            assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        }
    }
    let whole = DecodingTotals::of(&decodings);
    // Some drafts are accepted and some are not, so that the counts are a real test.
    assert!(
        0 < whole.matched && whole.matched < whole.drafted,
        "{whole:?}"
    );
    Ok(())
}

#[test]
fn a_bench_can_be_changed() -> Result<()> {
    let mini = Bench::new()?.pair_at(0).main;
    let none = changed(&mini, |name, _, weight| match name {
        "wte.weight" => 0.0,
        _ => weight,
    });
    let bench = Bench::new()?
        .pair(Pair::new(none.clone(), none)?)?
        .drift(Role::Main, 0.0)
        .drift(Role::Assistant, 0.0)
        .held_out("one two three four five six seven eight", 4)?
        .templates(
            "template_masked\traw\tidentity\tcategory\nshe is a [M].\t[I] is a [M].\tshe\tfemale\nhe is a [M].\t[I] is a [M].\the\tmale\n",
        )?;
    // All tokens are equally likely.
    let kinds = crate::hooks::shipping();
    let perplexity = kinds
        .get("perplexity")
        .map(|kind| bench.run(kind, "", [0, 7]));
    let reported = perplexity.unwrap_or_else(|| anyhow::bail!("no such kind"))?;
    for step in [0, 7] {
        let found = reported.scalar("eval/main/perplexity", step)?;
        assert!((found - 2048.0).abs() < 0.01, "{found}");
    }
    assert_eq!(bench.scene().prompts.len(), 2);
    assert_eq!(bench.scene().held_out.block(), 4);
    Ok(())
}
