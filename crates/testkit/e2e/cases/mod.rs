//! Every test: a function whose name is a sentence, in a module per subject.

/// One test.
#[derive(Clone, Copy)]
pub struct Case {
    /// `subject::the_sentence`.
    pub name: &'static str,
    /// Panics where the sentence does not hold.
    pub run: fn(&knarr_testkit::Lab),
}

/// Collects a module's tests; one that is written but not listed is dead code and so a lint.
macro_rules! cases {
    ($subject:literal: $($name:ident),* $(,)?) => {
        /// The tests of this subject.
        pub const CASES: &[super::Case] = &[$(super::Case { name: concat!($subject, "::", stringify!($name)), run: $name }),*];
    };
}

mod command_line;
mod config;
mod crash;
mod dry_run;
mod escape;
mod exec;
mod exit_codes;
mod hostile;
mod images;
mod isolation;
mod layers;
mod layouts;
mod lifecycle;
mod limits;
mod listings;
mod logs;
mod mounts;
mod peers;
mod pull;
mod random_trees;
mod registries;
mod runtimes;
mod stdio;
mod storm;
mod terminal;
mod transfer;
mod users;

/// All of them, in the order they run: what everything else rests on first.
pub fn all() -> &'static [Case] {
    static ALL: std::sync::LazyLock<Vec<Case>> = std::sync::LazyLock::new(|| {
        [
            images::CASES,
            exit_codes::CASES,
            command_line::CASES,
            stdio::CASES,
            terminal::CASES,
            transfer::CASES,
            config::CASES,
            users::CASES,
            isolation::CASES,
            layers::CASES,
            mounts::CASES,
            limits::CASES,
            lifecycle::CASES,
            exec::CASES,
            logs::CASES,
            listings::CASES,
            dry_run::CASES,
            runtimes::CASES,
            pull::CASES,
            registries::CASES,
            peers::CASES,
            random_trees::CASES,
            escape::CASES,
            hostile::CASES,
            crash::CASES,
            storm::CASES,
            layouts::CASES,
        ]
        .concat()
    });
    &ALL
}
