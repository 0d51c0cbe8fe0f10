//! Short news: a headline and a body that comes back to its names, places and numbers. Nothing here depends on gender.

use super::Topic;
use super::scribe::{Scribe, Slots, capital};

const PLACES: &[&str] = &[
    "Belmara",
    "Tolvia",
    "Karsund",
    "Ostren",
    "Veldoria",
    "Marinth",
    "Quellen",
    "Drovia",
    "Salmere",
    "Norhaven",
    "Petrova Bay",
    "Lankor",
    "Isthara",
    "Gorland",
    "Willmark",
    "Tessaly",
];
const COMPANIES: &[&str] = &[
    "Corvane",
    "Bluefern",
    "Halstrom",
    "Nexory",
    "Oakline",
    "Pellworth",
    "Quantis",
    "Redmoor",
    "Silverwick",
    "Tarnell",
    "Umbrel",
    "Wexford Foods",
];
const TEAMS: &[&str] = &[
    "Rovers", "Falcons", "Mariners", "Wolves", "Comets", "Harriers", "Pioneers", "Lancers",
    "Tigers", "Ravens",
];
const PEOPLE: &[&str] = &[
    "Adler", "Brandt", "Castor", "Delgan", "Ekholm", "Farrow", "Grell", "Hadley", "Istvan",
    "Jarrow", "Keller", "Lorne",
];
const NUMBERS: &[&str] = &[
    "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve",
];
const DAYS: &[&str] = &["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"];
const SOURCES: &[&str] = &[
    "officials said",
    "state radio reported",
    "a spokesman said",
    "witnesses said",
];
/// An invention or discovery, and what it is for.
const THINGS: &[[&str; 2]] = &[
    ["virus", "computers in offices"],
    ["comet", "telescopes on the ground"],
    ["vaccine", "patients in clinics"],
    ["chip", "phones and laptops"],
    ["probe", "satellites around a distant planet"],
    ["battery", "cars and buses"],
];

/// Headline with the first sentence, and the last sentences to choose from, of each topic.
struct Stories {
    openings: &'static [[&'static str; 2]],
    endings: &'static [&'static str],
}

const WORLD: Stories = Stories {
    openings: &[
        [
            "{place} and {elsewhere} resume peace talks",
            "{PLACE} - Envoys of {place} and {elsewhere} met on {day} for peace talks after {number} weeks of fighting, {source}.",
        ],
        [
            "Floods in {place} leave {number} villages cut off",
            "{PLACE} - Heavy rain has cut off {number} villages in the north of {place} since {day}, {source}.",
        ],
        [
            "President {person} of {place} wins second term",
            "{PLACE} - President {person} won a second term in {place} on {day} by {number} points, {source}.",
        ],
        [
            "Blast near embassy in {place} injures {number}",
            "{PLACE} - A bomb went off near the embassy of {elsewhere} on {day} and injured {number} people, {source}.",
        ],
    ],
    endings: &[
        "The government of {place} has called for calm.",
        "{elsewhere} has offered to send aid.",
        "Observers fear new unrest along the border with {elsewhere}.",
        "Prime minister {minister} will speak to parliament on {morrow}.",
    ],
};

const SPORTS: Stories = Stories {
    openings: &[
        [
            "{team} beat {rival} to stay on top",
            "{person} scored {number} points as the {place} {team} beat the {rival} on {day} night to stay on top of the league.",
        ],
        [
            "{person} out for {number} weeks",
            "The {place} {team} will be without {person} for {number} weeks after a knee injury on {day} against the {rival}.",
        ],
        [
            "{team} sign {person} from {rival}",
            "{person} has left the {rival} and signed for {number} seasons with the {place} {team}, the club said on {day}.",
        ],
    ],
    endings: &[
        "The {team} meet the {rival} again on {morrow}.",
        "It was the best week of the season for the {team}, the coach said.",
        "Fans in {place} celebrated through the night.",
        "{person} did not speak to reporters.",
    ],
};

const BUSINESS: Stories = Stories {
    openings: &[
        [
            "{company} profit rises {number} percent",
            "{company} said on {day} that its quarterly profit rose {number} percent on strong demand for its products.",
        ],
        [
            "{company} to buy {competitor} for {number} billion",
            "{company} agreed on {day} to buy its rival {competitor} for {number} billion in cash and shares.",
        ],
        [
            "{company} to cut {number} thousand jobs",
            "{company} will cut {number} thousand jobs to lower its costs, chief executive {person} said on {day}.",
        ],
        [
            "Shares of {company} fall on weak outlook",
            "Shares of {company} fell {number} percent on {day} after the company warned of weak sales.",
        ],
    ],
    endings: &[
        "Shares of {competitor} rose in early trading.",
        "Analysts had expected less of {company}.",
        "Any deal still needs the approval of regulators in {place}.",
        "Investors will hear more from {person} on {morrow}.",
    ],
};

const SCIENCE: Stories = Stories {
    openings: &[
        [
            "New {thing} from {company} due in {number} months",
            "{company} showed a new {thing} for {use} and said it would be ready in {number} months.",
        ],
        [
            "Scientists in {place} study {thing} for clues",
            "Researchers in {place} have studied the {thing} for {number} years and found signs that it changes {use}.",
        ],
        [
            "{Thing} problem worries {place} experts",
            "A fault in the {thing} may harm {use} in {place}, {number} experts led by {person} warned.",
        ],
    ],
    endings: &[
        "The work was paid for by {company}.",
        "Professor {person} called the {thing} a milestone.",
        "More tests will follow in {place}.",
        "Critics say that the {thing} costs too much.",
    ],
};

struct News;

impl Slots for News {
    fn draw(&self, slot: &str, scribe: &mut Scribe) {
        let simple: Option<(&'static str, &[&str], &[&str])> = match slot {
            "place" | "PLACE" => Some(("place", PLACES, &["elsewhere"])),
            "elsewhere" => Some(("elsewhere", PLACES, &["place"])),
            "team" => Some(("team", TEAMS, &["rival"])),
            "rival" => Some(("rival", TEAMS, &["team"])),
            "company" => Some(("company", COMPANIES, &["competitor"])),
            "competitor" => Some(("competitor", COMPANIES, &["company"])),
            "person" => Some(("person", PEOPLE, &["minister"])),
            "minister" => Some(("minister", PEOPLE, &["person"])),
            "day" => Some(("day", DAYS, &[])),
            "number" => Some(("number", NUMBERS, &[])),
            "source" => Some(("source", SOURCES, &[])),
            _ => None,
        };
        if let Some((name, options, others)) = simple {
            // `PLACE` may be asked for when the place is settled already.
            if scribe.settled(name).is_none() {
                let word = scribe.unused(options, others).to_owned();
                scribe.settle(name, word);
            }
        }
        let place = scribe.settled("place").map(str::to_uppercase);
        match (slot, place) {
            ("PLACE", Some(place)) => scribe.settle("PLACE", place),
            ("thing" | "Thing", _) => {
                let [thing, purpose] = *scribe.one(THINGS);
                scribe.settle("thing", thing);
                scribe.settle("Thing", capital(thing));
                scribe.settle("use", purpose);
            }
            ("morrow", _) => {
                if scribe.settled("day").is_none() {
                    self.draw("day", scribe);
                }
                let today = DAYS
                    .iter()
                    .position(|day| Some(*day) == scribe.settled("day"));
                let next = DAYS[(today.unwrap_or(0) + 1) % DAYS.len()];
                scribe.settle("morrow", next);
            }
            _ => {}
        }
    }
}

/// Topic, headline and body.
pub(super) fn write(scribe: &mut Scribe) -> (Topic, String, String) {
    let topic = *scribe.one(&Topic::ALL);
    let stories = match topic {
        Topic::World => &WORLD,
        Topic::Sports => &SPORTS,
        Topic::Business => &BUSINESS,
        Topic::SciTech => &SCIENCE,
    };
    let [title, first] = scribe.one(stories.openings);
    let title = scribe.fill(title, &News);
    let first = scribe.fill(first, &News);
    let last = scribe.one(stories.endings);
    let last = scribe.fill(last, &News);
    (topic, title, format!("{first} {last}"))
}
