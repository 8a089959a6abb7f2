//! Go's text templates, as far as docker's and podman's `--format` are used.
//!
//! Spec: <https://pkg.go.dev/text/template>, and the functions docker adds (`json`, `join`, `table` …, see [`functions`]).
//! Law: pure. Data is JSON; a template either renders whole or names what it could not do and where.
//! Not here: methods, which JSON has none of.

mod error;
mod eval;
pub mod functions;
mod lexer;
mod parser;
mod value;

pub use error::TemplateError;

use serde_json::Value;

/// A parsed template.
#[derive(Debug)]
pub struct Template {
    nodes: Vec<parser::Node>,
    definitions: parser::Definitions,
}

impl Template {
    /// Parses `text`, in which docker's `\t` and `\n` escapes have already become tabs and new lines.
    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        let (nodes, definitions) = parser::parse(text)?;
        Ok(Template { nodes, definitions })
    }

    /// Renders with `data` as the dot.
    pub fn render(&self, data: &Value) -> Result<String, TemplateError> {
        eval::render(&self.nodes, &self.definitions, data, &Value::Null)
    }

    /// Renders with `data` as the dot, whose maps in `methods` can be called for an entry (`{{.Label "name"}}`) but are no fields.
    pub fn render_with(&self, data: &Value, methods: &Value) -> Result<String, TemplateError> {
        eval::render(&self.nodes, &self.definitions, data, methods)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn data() -> Value {
        json!({
            "Id": "sha256:abcdef", "Name": "/web", "N": 3, "Zero": 0, "F": 1.5, "Empty": "", "Nil": null, "Yes": true, "No": false,
            "Env": ["A=1", "B=2"], "Labels": {"b": "2", "a": "1", "com.example/x": "y"},
            "State": {"Running": true, "Pid": 42}, "Mounts": [{"Source": "/s1", "RW": true}, {"Source": "/s2", "RW": false}],
        })
    }

    fn check(template: &str, expect: &str) {
        let rendered = Template::parse(template).and_then(|t| t.render(&data()));
        assert_eq!(rendered.map_err(|error| error.to_string()).as_deref(), Ok(expect), "{template}");
    }

    fn refuses(template: &str, expect: &str) {
        let error = Template::parse(template).and_then(|t| t.render(&data())).expect_err(template).to_string();
        assert!(error.contains(expect), "{template}: {error}");
    }

    #[test]
    fn text_and_fields_come_out_as_they_are() {
        check("plain", "plain");
        check("{{.Id}} {{ .State.Pid }}", "sha256:abcdef 42");
    }

    #[test]
    fn values_print_as_go_prints_them() {
        check("{{.Env}} {{.Labels}}", "[A=1 B=2] map[a:1 b:2 com.example/x:y]");
        check("{{.Yes}} {{.F}} {{.Nil}}", "true 1.5 <no value>");
    }

    #[test]
    fn json_prints_compact_and_sorted_as_given() {
        check("{{json .Env}}", r#"["A=1","B=2"]"#);
        check("{{json .Empty}}{{json .Nil}}", "\"\"null");
        check("{{.State | json}}", r#"{"Pid":42,"Running":true}"#);
    }

    #[test]
    fn range_over_lists_and_maps_with_and_without_variables() {
        check("{{range .Env}}<{{.}}>{{end}}", "<A=1><B=2>");
        check("{{range $i, $e := .Env}}{{$i}}={{$e}};{{end}}", "0=A=1;1=B=2;");
        check("{{range $k, $v := .Labels}}{{$k}}:{{$v}} {{end}}", "a:1 b:2 com.example/x:y ");
        check("{{range .Nil}}x{{else}}none{{end}}", "none");
        check("{{range .Mounts}}{{if .RW}}{{.Source}}{{end}}{{end}}", "/s1");
        check("{{range $e := .Env}}{{$e}}{{end}}", "A=1B=2");
        check("{{range .Env}}{{$.N}}{{end}}", "33");
        check("{{range .Env}}{{if eq . \"A=1\"}}{{continue}}{{end}}{{.}}{{break}}{{end}}", "B=2");
    }

    #[test]
    fn conditions_follow_gos_truth() {
        check("{{if .Empty}}a{{else if .Zero}}b{{else}}c{{end}}", "c");
        check("{{if and .Yes (not .No)}}y{{end}}", "y");
        check("{{or .Empty .Id}}", "sha256:abcdef");
        check("{{with .State}}{{.Pid}}{{end}}{{with .Nil}}x{{else}}-{{end}}", "42-");
        check(
            "{{if eq .N 1 2 3}}in{{end}}{{if ne .Id \"x\"}} ne{{end}}{{if lt .N 4}} lt{{end}}{{if ge .F 1.5}} ge{{end}}",
            "in ne lt ge",
        );
    }

    #[test]
    fn index_len_slice_and_strings() {
        check("{{index .Env 1}} {{index .Labels \"com.example/x\"}} {{index .Mounts 0 \"Source\"}}", "B=2 y /s1");
        check("{{len .Env}} {{len .Id}}", "2 13");
        check("{{slice .Id 7 10}}", "abc");
        check("{{join .Env \", \"}} {{upper .Name}} {{lower \"ABC\"}} {{title \"abc\"}}", "A=1, B=2 /WEB abc Abc");
        check("{{index (split .Id \":\") 1}}", "abcdef");
        check("{{truncate .Id 6}}|{{pad \"x\" 1 2}}|", "sha256| x  |");
        check("{{(index .Mounts 1).Source}}", "/s2");
    }

    #[test]
    fn a_missing_map_key_asked_by_index_is_empty_as_in_go() {
        check("{{index .Labels \"none\"}}", "");
    }

    #[test]
    fn printf_has_the_verbs_scripts_use() {
        check(
            r#"{{printf "%s-%d-%v %q %5s|%-5s|%05d %.1f %t %%" .Name .N .Env .Id "a" "b" .N .F .Yes}}"#,
            "/web-3-[A=1 B=2] \"sha256:abcdef\"     a|b    |00003 1.5 true %",
        );
        check("{{println .N 1}}", "3 1\n");
        check("{{print .N \"a\" 1 2}}", "3a1 2");
    }

    /// The texts are those of docker 28.
    #[test]
    fn rarer_verbs_and_functions_of_go() {
        check("{{html \"<a>\"}} {{js \"it's\"}} {{urlquery \"a b&c\"}}", "&lt;a&gt; it\\'s a+b%26c");
        check(r#"{{printf "%+v %#v" "a" "b"}}"#, "a \"b\"");
        check(r#"{{printf "%6.2f|%e|%g" 3.14159 1234.5 0.1}}"#, "  3.14|1.234500e+03|0.1");
        check(r#"{{printf "x" 1}} {{printf "%s" 5}} {{printf "%s"}}"#, "x%!(EXTRA int=1) %!s(int=5) %!s(MISSING)");
        check(r#"{{printf "%q %c %U" 'x' 65 65}}"#, "'x' A U+0041");
        check(r#"{{printf "%*d|%[2]s %[1]s" 5 42}}"#, "   42|%!s(int=42) %!s(int=5)");
        check(r#"{{printf "%[2]s %[1]s" "a" "b"}} {{printf "%b %o %X" 5 8 255}}"#, "b a 101 10 FF");
        check("{{index \"abc\" 1}} {{json 1.0}} {{json nil}} {{1.0}}", "98 1 null 1");
        refuses("{{eq \"a\" 1}}", "incompatible types for comparison: string and int");
        refuses("{{nil}}", "nil is not a command");
        check("{{eq .Nil \"a\"}}", "false");
    }

    #[test]
    fn variables_comments_and_trimming() {
        check("{{$x := .N}}{{$x}}{{$x = 5}}{{$x}}", "35");
        check("a {{- /* no */ -}} b", "ab");
        check("a  {{- .N -}}  b", "a3b");
        check("{{`raw \\n`}}{{\"tab\\t\"}}{{'a'}}", "raw \\ntab\t97");
    }

    #[test]
    fn pipelines_pass_their_result_as_the_last_argument() {
        check("{{.Id | printf \"%s-%s\" .Name}}", "/web-sha256:abcdef");
        check("{{.Name | upper | len}}", "4");
    }

    #[test]
    fn templates_are_defined_and_called() {
        check("{{define \"row\"}}<{{.}}>{{end}}{{range .Env}}{{template \"row\" .}}{{end}}", "<A=1><B=2>");
        check("{{template \"later\" .State}}{{define \"later\"}}{{.Pid}} {{$.Running}}{{end}}", "42 true");
        check("{{block \"b\" .Name}}[{{.}}]{{end}}{{template \"b\" 7}}", "[/web][7]");
        check("{{$x := 1}}{{define \"none\"}}{{.}}{{end}}{{template \"none\"}}{{$x}}", "<no value>1");
        refuses("{{template \"nowhere\"}}", "template \"nowhere\" not defined");
        refuses("{{define \"a\"}}{{$x}}{{end}}{{$x := 1}}{{template \"a\"}}", "undefined variable");
        refuses("{{define \"a\"}}{{template \"a\"}}{{end}}{{template \"a\"}}", "exceeded maximum template depth");
        refuses("{{if .Yes}}{{define \"a\"}}{{end}}{{end}}", "unexpected {{define}}");
        refuses("{{range .Env}}{{block \"a\" .}}{{break}}{{end}}{{end}}", "{{break}} outside {{range}}");
        refuses("{{template .Name}}", "in template clause");
    }

    #[test]
    fn mistakes_are_named() {
        refuses("{{.Nope}}", "map has no entry for key \"Nope\"");
        refuses("{{.Id.Nope}}", "can't evaluate field Nope");
        refuses("{{nope .}}", "function \"nope\" not defined");
        refuses("{{.Id", "unclosed action");
        refuses("{{if .Id}}", "unexpected EOF");
        refuses("{{end}}", "unexpected {{end}}");
        refuses("{{index .Env 9}}", "out of range");
        refuses("{{$nope}}", "undefined variable");
        refuses("{{\"unclosed}}", "unterminated quoted string");
    }

    #[test]
    fn an_absent_key_is_false_where_it_is_tested() {
        check("{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}", "none");
        check("{{with .Absent}}x{{end}}{{range .Absent}}x{{end}}", "");
    }

    #[test]
    fn a_label_that_is_not_there_has_no_value() {
        check("{{.Labels.none}}|{{.Labels.a}}", "<no value>|1");
        refuses("{{.State.none}}", "map has no entry for key");
    }

    #[test]
    fn a_map_may_be_called_for_an_entry() {
        check("{{.Labels \"a\"}}{{.Labels \"none\"}}", "1");
        refuses("{{.Name \"x\"}}", "non-function");
    }

    #[test]
    fn nesting_is_bounded() {
        refuses(&"{{if .Yes}}".repeat(1000), "nested deeper");
        refuses(&format!("{{{{{}1{}}}}}", "(".repeat(1000), ")".repeat(1000)), "nested deeper");
    }
}
