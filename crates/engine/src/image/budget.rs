//! Budgets of the store, kept after whatever adds images.

use knarr_store::gc::Doomed;
use knarr_store::{Budget, ImageRecord};

use crate::{Context, Result};

/// Removes what is over the budget. `added` stays: what was just fetched is about to be used. What fails here the next one
/// does, and says so as a note.
pub fn keep(context: &Context, added: &[&ImageRecord]) {
    let keep = added.iter().map(|image| image.id.clone()).collect();
    match context.store.keep_budget(&keep) {
        Ok(Some(collected)) => {
            let is_image = |doomed: &Doomed| matches!(doomed, Doomed::Image(_));
            let images = collected.removed.iter().filter(|(doomed, _)| is_image(doomed)).count();
            if images > 0 {
                context.note(format!("{images} unused images were over the budget and were removed"));
            }
        }
        Ok(None) => {}
        Err(error) => context.note(format!("the budget was not kept: {error}")),
    }
}

/// The limits that are set.
pub fn get(context: &Context) -> Result<Budget> {
    Ok(context.store.budget()?)
}

/// Sets the limits, and keeps them from now on.
pub fn set(context: &Context, budget: &Budget) -> Result<()> {
    context.store.set_budget(budget)?;
    keep(context, &[]);
    Ok(())
}
