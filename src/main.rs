//! The `milepost` program with the hooks of this crate.

fn main() -> std::process::ExitCode {
    milepost::cli::main(milepost::hooks::shipping())
}
