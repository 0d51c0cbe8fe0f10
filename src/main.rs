//! The `milepost` program with the hooks of this crate.

#[global_allocator]
static ALLOCATOR: milepost::allocator::Telling = milepost::allocator::Telling;

fn main() -> std::process::ExitCode {
    milepost::cli::main(milepost::hooks::shipping())
}
