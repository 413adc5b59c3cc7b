//! Lists that are printed while they are read: a store may have millions of things.

use serde_json::Value;

use crate::context::{Context, Shape};
use crate::failure::Result;
use crate::output;
use crate::table::Table;

/// Rows of which a column is as wide as the widest of them.
const ROWS: usize = 1 << 15;

/// How a thing is shown in each shape.
pub(crate) struct Look<T, const N: usize> {
    pub(crate) head: [&'static str; N],
    pub(crate) row: fn(&T) -> [String; N],
    pub(crate) name: fn(&T) -> String,
    pub(crate) json: fn(&T) -> Value,
}

/// A list on its way to stdout.
pub(crate) struct Listing<T, const N: usize> {
    look: Look<T, N>,
    shape: Shape,
    table: Table<N>,
    text: String,
    /// Something was printed, or will be with the text.
    is_begun: bool,
}

impl<T, const N: usize> Listing<T, N> {
    pub(crate) fn new(context: &Context, look: Look<T, N>) -> Self {
        let table = Table::new(look.head);
        Self { look, shape: context.shape(), table, text: String::new(), is_begun: false }
    }

    /// Takes the next thing, and prints, if there is enough.
    pub(crate) fn add(&mut self, thing: &T) -> Result<()> {
        match self.shape {
            Shape::Table => self.table.push(&(self.look.row)(thing)),
            Shape::Names => self.text.extend([&output::plain(&(self.look.name)(thing)), "\n"]),
            Shape::Lines => self.text.extend([&(self.look.json)(thing).to_string(), "\n"]),
            Shape::Json => {
                let before = if self.is_begun { ",\n  " } else { "[\n  " };
                self.text.extend([before, &(self.look.json)(thing).to_string()]);
                self.is_begun = true;
            }
        }
        if self.table.len() == ROWS {
            self.print_table()?;
        }
        if self.text.len() >= output::PIECE {
            output::print(&std::mem::take(&mut self.text))?;
        }
        Ok(())
    }

    /// Prints what is left.
    pub(crate) fn end(mut self) -> Result<()> {
        match self.shape {
            Shape::Table if self.is_begun && self.table.len() == 0 => {}
            Shape::Table => self.print_table()?,
            Shape::Json => self.text.push_str(if self.is_begun { "\n]\n" } else { "[]\n" }),
            Shape::Names | Shape::Lines => {}
        }
        output::print(&self.text)
    }

    fn print_table(&mut self) -> Result<()> {
        let table = std::mem::replace(&mut self.table, Table::new(self.look.head));
        let with_head = !std::mem::replace(&mut self.is_begun, true);
        output::print(&output::plain(&table.draw(with_head)))
    }
}
