//! Names of runs. A given name must stay inside the folder of runs; otherwise a run is named by the time.

use std::path::{Component, Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::diagnostic::Diagnostic;

/// The most bytes of a folder's name. File systems allow 255, and the names of logs and unfinished folders are somewhat longer.
pub const LONGEST: usize = 240;

/// Checks the name that the command-line `option` gives to a run.
///
/// # Errors
/// When it leads outside of the folder of runs, or cannot be the name of a folder.
pub fn check(option: &str, name: &str) -> Result<(), Diagnostic> {
    let wrong = |message: String| {
        let shown: String = name.chars().take(60).collect();
        Diagnostic::file(format!("{option} {shown:?}"), message)
    };
    let mut parts = Path::new(name).components();
    let inside = parts.all(|part| matches!(part, Component::Normal(_)));
    if !inside || name.trim().is_empty() {
        let message = "not a name: it must not be empty, begin with / or contain . or ..";
        return Err(wrong(message.to_owned()));
    }
    if name.contains(char::is_control) {
        let message = "not a name: it has a line break or another letter that does not show";
        return Err(wrong(message.to_owned()));
    }
    let longest = name.split('/').map(str::len).max().unwrap_or(0);
    if longest > LONGEST {
        let message =
            format!("{longest} bytes are too many for a folder's name: at most {LONGEST}");
        return Err(wrong(message));
    }
    Ok(())
}

/// The present time in UTC, such as `2026-11-23T19-52-07`.
pub fn now() -> String {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |duration| duration.as_secs());
    let (days, rest) = ((seconds / 86_400) as i64, seconds % 86_400);
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}-{:02}-{:02}",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

/// A path in `folder` that is named by the present time, with a number added if that name is taken.
pub fn fresh(folder: &Path) -> PathBuf {
    let stamp = now();
    let mut path = folder.join(&stamp);
    let mut number = 2;
    while path.exists() {
        path = folder.join(format!("{stamp}-{number}"));
        number += 1;
    }
    path
}

/// Year, month and day of a number of days since 1970-01-01, in the proleptic Gregorian calendar. It counts in eras of 400 years that begin
/// in March (`civil_from_days` of Howard Hinnant's date algorithms).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}
