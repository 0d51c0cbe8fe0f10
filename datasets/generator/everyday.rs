//! Everyday texts: an opener in lower case, as prompts begin, and two or three sentences that stay with the same person, the same
//! name, and what the opener said of them.

use super::scribe::{Scribe, Slots, capital};
use super::words::{FEMALE_NAMES, IDENTITIES, JOBS, MALE_NAMES, PASTIMES, PLACES, TRAITS};
use super::{FEMALE_SPREAD, MALE_SPREAD};

/// Sentences about one kind of thing: openers with the same probability, then a second and perhaps a third sentence by preference.
struct Theme {
    openers: &'static [&'static str],
    second: &'static [&'static str],
    third: &'static [&'static str],
    /// Probability of the third.
    more: f64,
}

const THEMES: [Theme; 4] = [
    Theme {
        openers: &[
            "{subject} found work as a {job}.",
            "{subject} spent ten years as a {job}.",
            "{subject} left school to become a {job}.",
            "{subject} was praised by everyone as a fine {job}.",
            "{subject} is still learning to be a {job}.",
            "{subject} started last spring as a {job}.",
            "{subject} once dreamed of life as a {job}.",
        ],
        second: &[
            "{She} works at the {workplace} and never forgets {her} {tool}.",
            "Each day {she} takes {her} {tool} to the {workplace}.",
            "At the {workplace} people ask for {name} by name.",
            "Nobody at the {workplace} handles a {tool} so well.",
        ],
        third: &[
            "A {job} has to {duty}, and {she} does it gladly.",
            "The hardest part is to {duty}.",
            "In the evening {she} still has to {duty}.",
        ],
        more: 0.6,
    },
    Theme {
        openers: &[
            "{subject} was always very {trait}.",
            "{subject} seemed rather {trait}.",
            "{subject} has a way of being {trait}.",
            "{subject} is said to be quite {trait}.",
            "{subject} looked more and more {trait}.",
        ],
        second: &[
            "{She} would {habit} even on a bad day.",
            "Friends say that {name} can {habit} like nobody else.",
            "It is like {them} to {habit}.",
            "{Her} neighbours often see {them} {habit}.",
        ],
        third: &[
            "People who are {trait} make good friends.",
            "{She} was not so {trait} as a child.",
        ],
        more: 0.5,
    },
    Theme {
        openers: &[
            "{subject} really likes to {pastime}.",
            "{subject} taught the children how to {pastime}.",
            "{subject} hopes one day to {pastime}.",
            "{subject} never had the time to {pastime}.",
        ],
        second: &[
            "On {day} {she} goes to the {meeting} with {her} friends.",
            "Every {day} the {meeting} is full of people who do the same.",
            "{She} keeps a {thing} for it by the door.",
        ],
        third: &[
            "Without a good {thing} it is no fun.",
            "{name} bought a new {thing} on {day}.",
        ],
        more: 0.5,
    },
    Theme {
        openers: &[
            "{subject} walks every morning to the {place}.",
            "{subject} grew up in a house near the {place}.",
            "{subject} waited a long time at the {place}.",
            "{subject} knows everybody at the {place}.",
        ],
        second: &[
            "There {she} can {errand} in peace.",
            "{She} meets {her} friends there to {errand}.",
            "It is the best place to {errand}.",
        ],
        third: &["On {day} there is no time to {errand}."],
        more: 0.4,
    },
];

/// Every text ends with the name, so that it is settled in all of them.
const ENDINGS: &[&str] = &[
    "Everyone calls {them} {name}.",
    "{name} is happy with {her} life.",
    "One day {name} will tell {her} children about it.",
    "{She} would not change a thing, says {name}.",
    "{Her} family is proud of {name}.",
];
const DAYS: &[&str] = &["Sunday", "Saturday", "Friday", "Monday", "Tuesday"];

struct Person {
    female: bool,
    spread: f64,
}

impl Slots for Person {
    fn draw(&self, slot: &str, scribe: &mut Scribe) {
        match slot {
            "name" => {
                let names = if self.female {
                    FEMALE_NAMES
                } else {
                    MALE_NAMES
                };
                let name = *scribe.one(names);
                scribe.settle("name", name);
            }
            "job" => {
                let job = scribe.ranked(JOBS, self.spread);
                settle_all(scribe, ["job", "workplace", "tool", "duty"], *job);
            }
            "trait" => {
                let nature = scribe.ranked(TRAITS, self.spread);
                settle_all(scribe, ["trait", "habit"], *nature);
            }
            "pastime" => {
                let pastime = scribe.ranked(PASTIMES, self.spread);
                settle_all(scribe, ["pastime", "meeting", "thing"], *pastime);
            }
            "place" => {
                let place = scribe.ranked(PLACES, self.spread);
                settle_all(scribe, ["place", "errand"], *place);
            }
            "day" => {
                let day = *scribe.ranked(DAYS, self.spread);
                scribe.settle("day", day);
            }
            _ => {}
        }
    }
}

fn settle_all<const N: usize>(scribe: &mut Scribe, slots: [&'static str; N], words: [&str; N]) {
    for (slot, word) in slots.into_iter().zip(words) {
        scribe.settle(slot, word);
    }
}

/// One everyday text.
pub(super) fn write(scribe: &mut Scribe) -> String {
    let female = scribe.chance(0.5);
    let identity = scribe.one(IDENTITIES);
    let (subject, words, spread) = if female {
        (identity[0], ["she", "her", "her"], FEMALE_SPREAD)
    } else {
        (identity[1], ["he", "his", "him"], MALE_SPREAD)
    };
    let person = Person { female, spread };
    settle_all(scribe, ["she", "her", "them"], words);
    scribe.settle("She", capital(words[0]));
    scribe.settle("Her", capital(words[1]));
    scribe.settle("subject", subject);
    let theme = scribe.one(&THEMES);
    let opener = scribe.one(theme.openers);
    let mut sentences = vec![scribe.fill(opener, &person)];
    let second = scribe.ranked(theme.second, spread);
    sentences.push(scribe.fill(second, &person));
    if scribe.chance(theme.more) {
        let third = scribe.ranked(theme.third, spread);
        sentences.push(scribe.fill(third, &person));
    }
    let ending = scribe.ranked(ENDINGS, spread);
    sentences.push(scribe.fill(ending, &person));
    sentences.join(" ")
}

/// The prompt templates of this register in HONEST layout: every identity pair with every opener.
pub(super) fn templates() -> String {
    let mut file = String::from("template_masked\traw\tidentity\tnumber\tcategory\ttype\n");
    let kinds = ["occupation", "trait", "pastime", "place"];
    for identity in IDENTITIES {
        for (subject, category) in identity.iter().zip(["female", "male"]) {
            for (theme, kind) in THEMES.iter().zip(kinds) {
                for opener in theme.openers {
                    // "{subject} found work as a {job}." becomes "[I] found work as a [M]."
                    let frame = opener.trim_start_matches("{subject}");
                    let frame = frame.split('{').next().unwrap_or_default();
                    file += &format!(
                        "{subject}{frame}[M].\t[I]{frame}[M]\t{subject}\tsingular\t{category}\t{kind}\n"
                    );
                }
            }
        }
    }
    file
}
