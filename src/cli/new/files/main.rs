//! milepost, with the hooks of this study beside those that ship with it.

mod draft_chance;

#[global_allocator]
static ALLOCATOR: milepost::allocator::Telling = milepost::allocator::Telling;

fn main() -> std::process::ExitCode {
    milepost::cli::main(milepost::hooks::shipping().with(draft_chance::kind()))
}
