//! How an error is shown to a person.

use std::{error::Error, fmt};

/// Shows an error with all its causes, `what: why: why`, on one line. Our errors never repeat their source in
/// their own text, so this is the only place that joins them.
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut error = self.0;
        write!(f, "{error}")?;
        while let Some(source) = error.source() {
            write!(f, ": {source}")?;
            error = source;
        }
        Ok(())
    }
}
