//! The cadence grammar and the clock: property tests against a walk of the loop, written out slowly.

use std::time::Duration;

use milepost::cadence::{Cadence, Moment, Spent};
use milepost::clock::{Clock, Extent, Length, Samples, Step, Tokens};
use proptest::prelude::*;

fn parse(text: &str) -> Cadence {
    text.parse().unwrap()
}

fn steps(cadence: &Cadence, extent: &Extent) -> Vec<u64> {
    cadence.firings(extent).map(|step| step.0).collect()
}

fn run_of(steps: u64) -> Extent {
    Extent::new(50, 1, 1, 10, Length::Steps(steps)).unwrap()
}

#[test]
fn each_clause_fires_where_it_says() {
    let extent = run_of(100);
    for (text, expected) in [
        ("start", vec![0]),
        ("end", vec![100]),
        ("every 30 steps", vec![30, 60, 90]),
        ("every 30 steps from step 60", vec![60, 90]),
        ("every 30 steps until step 60 from step 31", vec![60]),
        ("every epoch", vec![50, 100]),
        ("every 2 epochs", vec![100]),
        ("every 25%", vec![25, 50, 75, 100]),
        ("every 33%", vec![33, 66, 99]),
        ("every 12.5%", vec![13, 25, 38, 50, 63, 75, 88, 100]),
        ("every 300 tokens", vec![30, 60, 90]),
        ("every 1k tokens", vec![100]),
        ("every 40 samples", vec![40, 80]),
        ("log2 steps", vec![1, 2, 4, 8, 16, 32, 64]),
        ("steps 1, 10, 100, 1000", vec![1, 10, 100]),
        ("STEPS 0 7", vec![0, 7]),
        ("step 7", vec![7]),
        ("every epochs from step 51", vec![100]),
        ("Every 1K Tokens Until Step 99", vec![]),
        ("log2 steps from step 8 until step 32", vec![8, 16, 32]),
    ] {
        assert_eq!(steps(&parse(text), &extent), expected, "{text}");
    }
    let several =
        Cadence::parse(&["start", "every 50%", "every epoch", "end", "steps 50"]).unwrap();
    assert_eq!(steps(&several, &extent), [0, 50, 100]);
    assert!(parse("every 5 min").by_time() && !parse("every 5 min").never_fires(&extent));
    assert!(parse("every 101 steps").never_fires(&extent));
}

#[test]
fn a_budget_goes_by_what_was_spent() {
    let budget = parse("budget 5% from step 2 until step 9");
    assert_eq!(budget.to_string(), "budget 5% from step 2 until step 9");
    assert_eq!(parse("Budget 2.50%").to_string(), "budget 2.5%");
    assert!(budget.by_budget() && budget.by_time() && !budget.never_fires(&run_of(10)));
    let at = |step: u64, elapsed: u64| Clock {
        step: Step(step),
        elapsed: Duration::from_secs(elapsed),
        ..Clock::default()
    };
    let spent = |total: u64, last: u64| Spent {
        total: Duration::from_secs(total),
        last: Duration::from_secs(last),
    };
    assert!(budget.within_budget(&at(2, 0), Spent::default()));
    // Four seconds and half of two are 5% of a hundred.
    assert!(budget.within_budget(&at(3, 100), spent(4, 2)));
    assert!(!budget.within_budget(&at(3, 99), spent(4, 2)));
    assert!(!budget.within_budget(&at(1, 100), spent(0, 0)), "too early");
    assert!(!budget.within_budget(&at(10, 100), spent(0, 0)), "too late");
    assert!(!parse("every step").within_budget(&at(3, 100), spent(0, 0)));
}

#[test]
fn mistakes_are_named_with_their_place() {
    for (text, place, help) in [
        ("evry 10 steps", "evry", "did you mean `every`?"),
        ("every 10 stpes", "stpes", "did you mean `steps`?"),
        ("every 0 steps", "0", ""),
        ("every 0%", "0", ""),
        ("every 101%", "101", ""),
        ("every x steps", "x", ""),
        ("start from step 3", "from", ""),
        ("every step until step 5 until step 6", "until", ""),
        ("every", "", ""),
        ("", "", ""),
        ("steps", "", ""),
        ("every 10", "", "`every 10%`"),
        ("every 5min", "5min", "10k"),
        ("every mintue", "mintue", "did you mean `minute`?"),
        ("every %", "%", ""),
        ("every 0 min", "0", ""),
        ("every 0.5k samples", "0.5k", "10k"),
        ("every 20000000T tokens", "20000000T", "1M"),
        ("every 18446744073709551615 h", "18446744073709551615", ""),
        ("steps 1, 10 from step 3", "from", ""),
        // Not steps 0 and 1.
        ("steps 1,000", "000", "10_000"),
        ("every 2_0%", "2_0", ""),
        ("steps +5", "+5", ""),
        ("steps 1__0", "1__0", ""),
        (
            "every step from step 9 until step 8",
            "every step from step 9 until step 8",
            "",
        ),
        (
            "every 99999999999999999999 steps",
            "99999999999999999999",
            "",
        ),
    ] {
        let (_, error) = Cadence::parse(&[text]).unwrap_err();
        assert_eq!(&text[error.span.clone()], place, "{text}: {error}");
        assert!(error.help.unwrap_or_default().contains(help), "{text}");
    }
    assert!(Cadence::parse::<&str>(&[]).is_err());
}

#[test]
fn wall_time_fires_when_a_multiple_is_crossed() {
    let (cadence, extent) = (parse("every 5 min"), run_of(100));
    let at = |seconds: u64| Clock {
        elapsed: Duration::from_secs(seconds),
        ..Clock::default()
    };
    let due = |before, now| cadence.due(Moment::Step, &at(before), &at(now), &extent);
    assert!(!due(0, 299) && due(299, 300) && !due(300, 301) && due(301, 1000));
}

#[test]
fn units_of_time_are_written_as_people_say_them() {
    for (text, canonical) in [
        ("every second", "every 1 s"),
        ("every 120 sec", "every 2 min"),
        ("every 90 minutes", "every 90 min"),
        ("every hour", "every 1 h"),
        ("every 86400 seconds", "every 24 h"),
    ] {
        assert_eq!(parse(text).to_string(), canonical);
        assert_eq!(parse(canonical), parse(text));
    }
}

#[test]
fn the_longest_runs_are_counted_at_once() {
    for steps in [1_000_000_000, i64::MAX as u64 / 1000] {
        let extent = run_of(steps);
        for text in [
            "every step",
            "every 7 tokens",
            "every 0.001%",
            "every epoch",
            "log2 steps",
            "end",
        ] {
            let cadence = parse(text);
            assert!(!cadence.never_fires(&extent), "{text}");
            assert!(cadence.firings(&extent).take(1000).count() >= 1, "{text}");
        }
        let late = parse(&format!("every step from step {steps}"));
        assert_eq!(late.firings(&extent).collect::<Vec<_>>(), [Step(steps)]);
        let never = parse(&format!("every {} steps", steps + 1));
        assert!(never.never_fires(&extent));
    }
}

#[test]
fn a_run_that_cannot_be_counted_is_refused() {
    let run = |samples, batch, accumulation, block, length| {
        Extent::new(samples, batch, accumulation, block, length).map(|extent| extent.steps())
    };
    let most = u64::MAX;
    for (numbers, key) in [
        (run(0, 1, 1, 1, Length::Steps(1)), "samples"),
        (run(1, 0, 1, 1, Length::Steps(1)), "batch"),
        (run(1, 1, 0, 1, Length::Steps(1)), "accumulation"),
        (run(1, 1, 1, 0, Length::Steps(1)), "block"),
        (run(1, 1, 1, 1, Length::Steps(0)), "max_steps"),
        (run(1, 1, 1, 1, Length::Epochs(0)), "epochs"),
        (run(2, 1, 1, 1, Length::Epochs(most)), "epochs"),
        (run(1, 1, 1, 1, Length::Steps(most)), "max_steps"),
        (run(most / 2, 1, 1, 2, Length::Steps(1)), "max_steps"),
    ] {
        assert_eq!(numbers.unwrap_err().0, key);
    }
    let vast = Extent::new(1 << 20, most, most, 1 << 10, Length::Epochs(1 << 32)).unwrap();
    let end = vast.clock_after(Step(vast.steps()));
    assert_eq!((end.step, end.tokens), (Step(1 << 32), Tokens(1 << 62)));
}

fn clause() -> impl Strategy<Value = String> {
    let window = prop_oneof![
        Just(String::new()),
        (0u64..40).prop_map(|from| format!(" from step {from}")),
        (0u64..40).prop_map(|until| format!(" until step {until}")),
        (0u64..20, 0u64..40)
            .prop_map(|(from, more)| format!(" from step {from} until step {}", from + more)),
    ];
    let repeating = prop_oneof![
        (1u64..60).prop_map(|n| format!("every {n} steps")),
        (1u64..4).prop_map(|n| format!("every {n} epochs")),
        (1u64..2000).prop_map(|n| format!("every {n} tokens")),
        (1u64..300).prop_map(|n| format!("every {n} samples")),
        (1u64..1000)
            .prop_map(|n| format!("every {}.{}%", n / 10, n % 10))
            .prop_filter("0%", |t| t != "every 0.0%"),
        (1u64..9000).prop_map(|n| format!("every {n} s")),
        Just("log2 steps".to_owned()),
    ];
    prop_oneof![
        Just("start".to_owned()),
        Just("end".to_owned()),
        prop::collection::vec(0u64..70, 1..5).prop_map(|all| format!(
            "steps {}",
            all.iter()
                .map(u64::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        )),
        (repeating, window).prop_map(|(clause, window)| clause + &window),
    ]
}

fn extents() -> impl Strategy<Value = (u64, u64, u64, u64, Length)> {
    let length = prop_oneof![
        (1u64..4).prop_map(Length::Epochs),
        (1u64..60).prop_map(Length::Steps)
    ];
    (1u64..40, 1u64..6, 1u64..5, 1u64..9, length)
}

proptest! {
    #[test]
    fn the_canonical_form_means_the_same(text in clause()) {
        let cadence = parse(&text);
        prop_assert_eq!(&parse(&cadence.to_string()), &cadence);
        prop_assert_eq!(&parse(&text.to_uppercase()), &cadence);
        prop_assert_eq!(Cadence::parse(&cadence.clauses()).unwrap(), cadence);
    }

    /// Anything may stand in a file; an error must point into it.
    #[test]
    fn no_text_breaks_the_parser(text in "(every|steps|from|until|log2|[0-9_.%,kMG]{1,4}|tokens|\\PC{0,3}| ){0,8}") {
        if let Err(error) = text.parse::<Cadence>() {
            prop_assert!(text.get(error.span).is_some());
        }
    }

    /// As many firings as there are whole intervals in the run, as long as an interval is no shorter than a step.
    #[test]
    fn no_interval_is_lost((samples, batch, accumulation, block, length) in extents(), more in 0u64..50, tenths in 1u64..=1000) {
        let extent = Extent::new(samples, batch, accumulation, block, length).unwrap();
        let end = extent.clock_after(Step(extent.steps()));
        let step = samples.min(batch * accumulation);
        let count = |text: String| parse(&text).firings(&extent).count() as u64;
        let every = step * block + more;
        prop_assert_eq!(count(format!("every {every} tokens")), end.tokens.0 / every);
        let every = step + more;
        prop_assert_eq!(count(format!("every {every} samples")), end.samples.0 / every);
        prop_assert_eq!(count(format!("every {} steps", 1 + more)), extent.steps() / (1 + more));
        prop_assert_eq!(count(format!("every {} epochs", 1 + more)), end.epoch.0 / (1 + more));
        let percent = format!("every {}.{}%", tenths / 10, tenths % 10);
        prop_assert_eq!(count(percent), (1000 / tenths).min(extent.steps()));
    }

    /// A window takes away what lies outside it and nothing else.
    /// Steps and milestones of any lengths, the hooks in the loop: never more than a milestone above the share, and, where the budget has
    /// just said no, not half a milestone below.
    #[test]
    fn a_budget_is_kept(
        steps in prop::collection::vec(1u64..200, 50..400),
        cost in 1u64..300,
        jitter in prop::collection::vec(0u64..100, 400),
        tenths in 5u64..900,
    ) {
        let share = tenths as f64 / 1000.0;
        let cadence = parse(&format!("budget {}.{}%", tenths / 10, tenths % 10));
        let ms = Duration::from_millis;
        let (mut elapsed, mut spent, mut refused) = (Duration::ZERO, Spent::default(), false);
        for (index, step) in steps.iter().enumerate() {
            elapsed += ms(*step);
            let clock = Clock { step: Step(index as u64 + 1), elapsed, ..Clock::default() };
            refused = !cadence.within_budget(&clock, spent);
            if !refused {
                let took = ms(cost + jitter[index] * cost / 100);
                elapsed += took;
                spent = Spent { total: spent.total + took, last: took };
            }
        }
        let most = ms(2 * cost).as_secs_f64();
        let wanted = share * elapsed.as_secs_f64();
        let found = spent.total.as_secs_f64();
        prop_assert!(found <= wanted + most, "{found} s of {wanted} s");
        prop_assert!(!refused || found + most / 2.0 >= wanted, "{found} s of {wanted} s");
    }

    #[test]
    fn a_window_is_a_filter((samples, batch, accumulation, block, length) in extents(), every in 1u64..9, from in 0u64..40, more in 0u64..40) {
        let extent = Extent::new(samples, batch, accumulation, block, length).unwrap();
        for unit in ["steps", "epochs", "samples", "tokens", "%"] {
            let open = format!("every {every} {unit}");
            let windowed = format!("{open} until step {} from step {from}", from + more);
            let expected = steps(&parse(&open), &extent).into_iter();
            let expected: Vec<u64> = expected.filter(|step| (from..=from + more).contains(step)).collect();
            prop_assert_eq!(steps(&parse(&windowed), &extent), &expected[..]);
            prop_assert_eq!(parse(&windowed).never_fires(&extent), expected.is_empty());
        }
    }

    /// However unevenly time passes, it fires at a step if and only if a multiple of the interval has gone by since the last.
    #[test]
    fn wall_time_fires_at_every_multiple_once(pauses in prop::collection::vec(0u64..400, 1..40), every in 1u64..300) {
        let (cadence, extent) = (parse(&format!("every {every} s")), run_of(100));
        let mut before = Clock::default();
        for pause in pauses {
            let mut now = before.clone();
            now.step_done(&extent);
            now.elapsed += Duration::from_secs(pause);
            let passed = (before.elapsed.as_secs() + 1..=now.elapsed.as_secs()).any(|second| second % every == 0);
            prop_assert_eq!(cadence.due(Moment::Step, &before, &now, &extent), passed);
            prop_assert!(!cadence.due(Moment::EpochEnd, &before, &now, &extent));
            before = now;
        }
    }

    /// The loop, walked micro-batch by micro-batch.
    #[test]
    fn closed_forms_equal_the_walk((samples, batch, accumulation, block, length) in extents()) {
        let extent = Extent::new(samples, batch, accumulation, block, length).unwrap();
        let mut clock = Clock::default();
        prop_assert_eq!(extent.clock_after(Step(0)), clock.clone());
        'run: loop {
            let mut left = samples;
            while left > 0 {
                for _ in 0..accumulation {
                    let size = left.min(batch);
                    if size == 0 {
                        break;
                    }
                    left -= size;
                    clock.micro_batch_done(Samples(size), Tokens(size * block));
                }
                let epoch = clock.epoch;
                clock.step_done(&extent);
                prop_assert_eq!(extent.closes_epoch(clock.step), left == 0);
                prop_assert_eq!(extent.epoch_of(clock.step), epoch);
                prop_assert_eq!(clock.epoch.0, epoch.0 + u64::from(left == 0));
                prop_assert_eq!(extent.clock_after(clock.step), clock.clone());
                if clock.step.0 == extent.steps() {
                    break 'run;
                }
            }
        }
        if let Length::Epochs(epochs) = length {
            prop_assert_eq!((clock.epoch.0, clock.samples.0), (epochs, epochs * samples));
        }
        prop_assert_eq!(extent.epochs(), extent.epoch_of(clock.step).0 + 1);
    }

    /// The loop asks at each moment of each step; the plan jumps from firing to firing.
    #[test]
    fn what_is_planned_is_what_is_due(texts in prop::collection::vec(clause(), 1..4), (samples, batch, accumulation, block, length) in extents()) {
        let cadence = Cadence::parse(&texts).unwrap();
        let extent = Extent::new(samples, batch, accumulation, block, length).unwrap();
        let mut before = Clock::default();
        let mut due = Vec::new();
        for step in 0..=extent.steps() {
            let now = extent.clock_after(Step(step));
            let mut moments = vec![if step == 0 { Moment::Start } else { Moment::Step }];
            if extent.closes_epoch(Step(step)) {
                moments.push(Moment::EpochEnd);
            }
            if step == extent.steps() {
                moments.push(Moment::End);
            }
            if moments.into_iter().any(|moment| cadence.due(moment, &before, &now, &extent)) {
                due.push(step);
            }
            before = now;
        }
        prop_assert_eq!(steps(&cadence, &extent), due.clone());
        for from in 0..=extent.steps() + 1 {
            let next = cadence.next_firing(Step(from), &extent);
            prop_assert_eq!(next.map(|step| step.0), due.iter().copied().find(|step| *step >= from));
        }
    }

    /// A run of up to 2^63 steps: the next firing is due, and nothing is due between, as far as one can look.
    #[test]
    fn a_long_run_is_looked_at_by_jumps(text in clause(), steps in 1u64..=1 << 40, from in any::<prop::sample::Index>()) {
        let (cadence, extent) = (parse(&text), run_of(steps));
        let from = from.index(steps as usize) as u64;
        let due = |step: u64| slow_due(&text, step, &extent);
        let by_percent = text.contains('%');
        let Some(next) = cadence.next_firing(Step(from), &extent) else {
            prop_assert!(by_percent || (from..steps.min(from + 100)).all(|step| !due(step)));
            return Ok(());
        };
        prop_assert!(next.0 >= from && next.0 <= steps);
        prop_assert!(by_percent || due(next.0), "{}", next);
        prop_assert!(by_percent || (from.max(next.0.saturating_sub(100))..next.0).all(|step| !due(step)));
    }

    #[test]
    fn no_milestone_is_lost_or_doubled(texts in prop::collection::vec(clause(), 1..4), (samples, batch, accumulation, block, length) in extents()) {
        let cadence = Cadence::parse(&texts).unwrap();
        let extent = Extent::new(samples, batch, accumulation, block, length).unwrap();
        let found = steps(&cadence, &extent);
        prop_assert!(found.windows(2).all(|two| two[0] < two[1]));
        let mut expected = Vec::new();
        for step in 0..=extent.steps() {
            if texts.iter().any(|text| slow_due(text, step, &extent)) {
                expected.push(step);
            }
        }
        prop_assert_eq!(found, expected);
    }
}

/// Whether a clause is due at a step, from the words of the manual and the clocks of two steps.
fn slow_due(text: &str, step: u64, extent: &Extent) -> bool {
    let words: Vec<&str> = text
        .split([' ', ','])
        .filter(|word| !word.is_empty())
        .collect();
    let bound = |name: &str| {
        let place = words.iter().position(|word| *word == name);
        place.map(|place| words[place + 2].parse::<u64>().unwrap())
    };
    if bound("from").is_some_and(|from| step < from)
        || bound("until").is_some_and(|until| step > until)
    {
        return false;
    }
    let now = extent.clock_after(Step(step));
    let before = extent.clock_after(Step(step.saturating_sub(1)));
    let multiple_passed =
        |before: u64, now: u64, every: u64| (before + 1..=now).any(|count| count % every == 0);
    match words[0] {
        "start" => step == 0,
        "end" => step == extent.steps(),
        "steps" => words[1..].iter().any(|word| word.parse() == Ok(step)),
        "log2" => (0..64).any(|power| step == 1 << power),
        _ if step == 0 => false,
        _ => match (words[1].strip_suffix('%'), *words.get(2).unwrap_or(&"")) {
            (Some(percent), _) => {
                let tenths: u64 = (percent.parse::<f64>().unwrap() * 10.0).round() as u64;
                // Some multiple k of the percentage lies in (step - 1, step] of the whole.
                (1..=1000).any(|k| {
                    let mark = k * tenths * extent.steps();
                    mark > (step - 1) * 1000 && mark <= step * 1000
                })
            }
            (None, "steps") => step.is_multiple_of(words[1].parse().unwrap()),
            (None, "epochs") => {
                now.epoch > before.epoch && now.epoch.0.is_multiple_of(words[1].parse().unwrap())
            }
            (None, "tokens") => {
                multiple_passed(before.tokens.0, now.tokens.0, words[1].parse().unwrap())
            }
            (None, "samples") => {
                multiple_passed(before.samples.0, now.samples.0, words[1].parse().unwrap())
            }
            _ => false,
        },
    }
}
