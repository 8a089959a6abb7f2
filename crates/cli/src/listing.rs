//! Lists for people and scripts: docker's tables, `--format`, `--quiet`.
//!
//! Spec: docker's formatter. `table TEMPLATE` prints a heading made from the same template with every field replaced by its
//! title, `json` prints a JSON object per line, any other text is a template per row.
//! Law: pure; the caller prints what it gets.

use serde_json::{Map, Value};

use crate::rows::cut;
use crate::template::{Template, TemplateError};

/// Narrowest column and the space between two, as docker's tab writer has them.
const COLUMN_WIDTH_MIN: usize = 10;
const COLUMN_GAP: usize = 3;

/// A kind of list: its fields with their titles, and how it prints when nothing is asked.
#[derive(Debug, Clone, Copy)]
pub struct Columns {
    /// `(field, title)`: `("Names", "NAMES")`.
    pub titles: &'static [(&'static str, &'static str)],
    /// The template behind `table` when no format is given.
    pub default: &'static str,
    /// The field `--quiet` prints.
    pub quiet: &'static str,
    /// The template behind `raw`, where there is one.
    pub raw: &'static str,
    /// Titles of what may be cut short where lines would not fit: texts to read, never names to copy.
    pub texts: &'static [&'static str],
}

/// Renders `rows` (JSON objects with the fields of `columns`) in the asked format. `width`: the terminal's columns, for which the table
/// that nobody described is made to fit as far as its texts allow.
pub fn render(
    columns: &Columns,
    format: Option<&str>,
    quiet: bool,
    rows: &[Value],
    width: Option<usize>,
) -> Result<String, TemplateError> {
    let default = format!("table {}", columns.default);
    let texts = if format.is_none() { columns.texts } else { &[] };
    let format = match format {
        None | Some("table") if quiet => return lines(&format!("{{{{.{}}}}}", columns.quiet), rows),
        None | Some("table") => default.as_str(),
        Some("raw") if !columns.raw.is_empty() => columns.raw,
        Some(format) => format,
    };
    if format == "json" {
        return Ok(rows.iter().map(|row| format!("{}\n", split(row).0)).collect());
    }
    let format = unescaped(format);
    match format.strip_prefix("table ").or_else(|| format.strip_prefix("table\t")) {
        None => lines(&format, rows),
        Some(format) => {
            let heading = columns.titles.iter().map(|(field, title)| ((*field).to_owned(), Value::from(*title)));
            let heading = Value::Object(heading.collect::<Map<_, _>>());
            let body = lines(format, rows)?;
            let template = without_functions(format);
            let text = lines(&template, std::slice::from_ref(&heading))? + &body;
            Ok(aligned(&width.map_or(text.clone(), |width| fitted(&text, texts, width))))
        }
    }
}

fn lines(format: &str, rows: &[Value]) -> Result<String, TemplateError> {
    let template = Template::parse(format)?;
    let line = |row| {
        let (fields, methods) = split(row);
        template.render_with(&fields, &methods).map(|line| line + "\n")
    };
    rows.iter().map(line).collect()
}

/// A row's fields, and its maps, which are called for an entry and printed by nothing: `{{.Label "name"}}`.
fn split(row: &Value) -> (Value, Value) {
    let pairs = row.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), value.clone()));
    let (methods, fields): (Map<_, _>, Map<_, _>) = pairs.partition(|(_, value)| value.is_object());
    (Value::Object(fields), Value::Object(methods))
}

/// In a heading every action that shows a field shows its title, whatever functions stand around it.
fn without_functions(format: &str) -> String {
    let mut out = String::new();
    let mut rest = format;
    while let Some((before, action)) = rest.split_once("{{") {
        let Some((action, after)) = action.split_once("}}") else { break };
        out.push_str(before);
        let field = action
            .split(|c: char| c.is_whitespace() || c == '|' || c == '(' || c == ')')
            .find(|word| word.starts_with('.') && word.len() > 1);
        let argument = action.split('"').nth(1);
        if let (Some(".Label"), Some(label)) = (field, argument) {
            // Docker's heading of a label: the last part of its name.
            out.push_str(&label.rsplit('.').next().unwrap_or_default().replace(['-', '_'], " "));
        } else if let Some(field) = field {
            let name = field.trim_start_matches('.').split('.').next().unwrap_or_default();
            out.push_str(&format!("{{{{.{name}}}}}"));
        }
        rest = after;
    }
    out + rest
}

/// `\t` and `\n` written in a shell's single quotes.
fn unescaped(format: &str) -> String {
    format.replace("\\t", "\t").replace("\\n", "\n")
}

/// Lines of tab-separated cells whose columns titled as one of `texts` are cut, the widest first, until `width` characters hold a line or
/// there is nothing left to cut.
fn fitted(text: &str, texts: &[&str], width: usize) -> String {
    let mut rows: Vec<Vec<String>> = text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect();
    let Some(heading) = rows.first().cloned() else { return String::new() };
    loop {
        let widths = widths(&rows);
        let too_many = widths.iter().sum::<usize>().saturating_sub(width);
        let of_text = |column: &usize| {
            texts.contains(&heading[*column].as_str()) && widths[*column] > COLUMN_WIDTH_MIN + COLUMN_GAP
        };
        let Some(widest) = (0..heading.len()).filter(of_text).max_by_key(|column| widths[*column]) else { break };
        if too_many == 0 {
            break;
        }
        let gap = if widest + 1 < heading.len() { COLUMN_GAP } else { 0 };
        let kept = (widths[widest] - gap).saturating_sub(too_many).max(COLUMN_WIDTH_MIN);
        rows.iter_mut().filter_map(|row| row.get_mut(widest)).for_each(|cell| *cell = cut(cell, kept));
    }
    rows.iter().map(|row| row.join("\t") + "\n").collect()
}

/// How wide the columns are, with the space behind each; the last has none.
fn widths<T: AsRef<str>>(rows: &[Vec<T>]) -> Vec<usize> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let is_last = column + 1 == columns;
        // A cell that ends its line needs no column.
        let cells = rows.iter().filter(|row| row.len() > column + usize::from(!is_last));
        let widest = cells.map(|row| row[column].as_ref().chars().count()).max();
        widest.map_or(0, |widest| if is_last { widest } else { (widest + COLUMN_GAP).max(COLUMN_WIDTH_MIN) })
    };
    (0..columns).map(width).collect()
}

/// Lines of tab-separated cells in columns.
pub fn aligned(text: &str) -> String {
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let widths = widths(&rows);
    let mut out = String::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            out.push_str(cell);
            if column + 1 < row.len() {
                out.push_str(&" ".repeat(widths[column] - cell.chars().count()));
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const COLUMNS: Columns = Columns {
        titles: &[("ID", "CONTAINER ID"), ("Names", "NAMES"), ("Labels", "LABELS")],
        default: "{{.ID}}\t{{.Names}}",
        quiet: "ID",
        raw: "id: {{.ID}}\nname: {{.Names}}\n",
        texts: &["NAMES"],
    };

    fn check(format: Option<&str>, quiet: bool, expect: &str) {
        let rows = [
            json!({"ID": "abc", "Names": "web", "Labels": "a=1", "Label": {"a": "1"}}),
            json!({"ID": "def", "Names": "a-long-name", "Labels": "", "Label": {}}),
        ];
        assert_eq!(render(&COLUMNS, format, quiet, &rows, None).unwrap(), expect);
    }

    #[test]
    fn the_default_is_a_table_in_dockers_columns() {
        check(None, false, "CONTAINER ID   NAMES\nabc            web\ndef            a-long-name\n");
    }

    #[test]
    fn quiet_prints_ids_alone() {
        check(None, true, "abc\ndef\n");
    }

    #[test]
    fn a_template_prints_no_heading() {
        check(Some("{{.Names}}={{.ID}}"), false, "web=abc\na-long-name=def\n");
    }

    #[test]
    fn a_table_of_chosen_fields_has_their_titles_even_inside_functions() {
        check(
            Some("table {{upper .Names}}\\t{{.ID}}"),
            false,
            "NAMES         CONTAINER ID\nWEB           abc\nA-LONG-NAME   def\n",
        );
    }

    #[test]
    fn json_prints_an_object_a_line() {
        let expect = "{\"ID\":\"abc\",\"Labels\":\"a=1\",\"Names\":\"web\"}\n{\"ID\":\"def\",\"Labels\":\"\",\"Names\":\"a-long-name\"}\n";
        check(Some("{{json .}}"), false, expect);
        check(Some("json"), false, expect);
    }

    #[test]
    fn raw_prints_a_block_a_row() {
        check(Some("raw"), false, "id: abc\nname: web\n\nid: def\nname: a-long-name\n\n");
    }

    #[test]
    fn labels_are_called_by_name_and_head_their_column() {
        check(Some("{{.Label \"a\"}}"), false, "1\n\n");
        check(
            Some("table {{.ID}}\\t{{.Label \"x.y.a-b\"}}"),
            false,
            "CONTAINER ID   a b\nabc            \ndef            \n",
        );
    }

    #[test]
    fn texts_are_cut_until_lines_fit_and_what_is_copied_never_is() {
        let fit = |columns: &Columns, width| {
            let row = json!({"ID": "a-long-id-that-is-copied", "Names": "some text to read, of forty characters.."});
            render(columns, None, false, &[row], Some(width)).unwrap()
        };
        let whole =
            "CONTAINER ID               NAMES\na-long-id-that-is-copied   some text to read, of forty characters..\n";
        assert_eq!(fit(&COLUMNS, 80), whole);
        assert_eq!(
            fit(&COLUMNS, 50),
            "CONTAINER ID               NAMES\na-long-id-that-is-copied   some text to read, of …\n"
        );
        assert_eq!(fit(&COLUMNS, 10), "CONTAINER ID               NAMES\na-long-id-that-is-copied   some text…\n");
        assert_eq!(fit(&Columns { texts: &[], ..COLUMNS }, 10), whole);
    }

    #[test]
    fn short_columns_are_ten_wide() {
        assert_eq!(aligned("A\tB\n1\t2\n"), "A         B\n1         2\n");
    }
}
