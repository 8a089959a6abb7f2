//! A tree and data to text.

use serde_json::Value;

use super::error::TemplateError;
use super::functions;
use super::parser::{Branch, Definitions, Node, Operand, Pipeline};
use super::value::{kind, text, truth};

/// Longest output: a template that multiplies itself in nested ranges stops here instead of filling the memory.
const OUTPUT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Go's words for a key that is not there.
const ABSENT: &str = "map has no entry for key";

/// Most templates that call each other: one that calls itself without end stops here.
const CALLS_MAX: usize = 100;

/// Renders a parsed template, in which `definitions` can be called.
pub fn render(
    nodes: &[Node],
    definitions: &Definitions,
    data: &Value,
    methods: &Value,
) -> Result<String, TemplateError> {
    let variables = vec![(String::new(), data.clone())];
    let mut scope = Scope { root: data.clone(), methods, definitions, calls: 0, variables, out: String::new() };
    scope.nodes(nodes, data)?;
    Ok(scope.out)
}

/// How a list of nodes ended.
#[derive(PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

struct Scope<'a> {
    /// What `$` is: the data, in a template that was called what it was called with.
    root: Value,
    methods: &'a Value,
    definitions: &'a Definitions,
    /// How many templates deep this is.
    calls: usize,
    variables: Vec<(String, Value)>,
    out: String,
}

impl Scope<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, TemplateError> {
        for node in nodes {
            match node {
                Node::Text(text) => self.write(text)?,
                Node::Print(pipeline) => self.print(pipeline, dot)?,
                Node::Template(name, pipeline) => self.call(name, pipeline.as_ref(), dot)?,
                Node::Break => return Ok(Flow::Break),
                Node::Continue => return Ok(Flow::Continue),
                Node::Branch { kind, condition, body, otherwise } => {
                    let visible = self.variables.len();
                    let flow = self.branch(*kind, condition, body, otherwise, dot)?;
                    self.variables.truncate(visible);
                    if flow != Flow::Next {
                        return Ok(flow);
                    }
                }
            }
        }
        Ok(Flow::Next)
    }

    fn write(&mut self, text: &str) -> Result<(), TemplateError> {
        if self.out.len() + text.len() > OUTPUT_BYTES_MAX {
            return Err(TemplateError::execute("output", format!("more than {OUTPUT_BYTES_MAX} bytes")));
        }
        self.out.push_str(text);
        Ok(())
    }

    fn print(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<(), TemplateError> {
        let value = self.pipeline(pipeline, dot)?;
        if pipeline.variables.is_empty() {
            return self.write(&text(&value));
        }
        self.assign(pipeline, vec![value])
    }

    /// What is defined as `name`, with a dot and variables of its own.
    fn call(&mut self, name: &str, pipeline: Option<&Pipeline>, dot: &Value) -> Result<(), TemplateError> {
        let missing = || TemplateError::execute(name, format!("template {name:?} not defined"));
        let nodes = self.definitions.get(name).ok_or_else(missing)?;
        let value = pipeline.map_or(Ok(Value::Null), |pipeline| self.pipeline(pipeline, dot))?;
        if self.calls == CALLS_MAX {
            return Err(TemplateError::execute(name, "exceeded maximum template depth".to_owned()));
        }
        self.calls += 1;
        let root = std::mem::replace(&mut self.root, value.clone());
        let variables = std::mem::replace(&mut self.variables, vec![(String::new(), value.clone())]);
        self.nodes(nodes, &value)?;
        (self.root, self.variables) = (root, variables);
        self.calls -= 1;
        Ok(())
    }

    fn branch(
        &mut self,
        kind: Branch,
        condition: &Pipeline,
        body: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<Flow, TemplateError> {
        let value = match self.pipeline(condition, dot) {
            // What is tested may be absent: docker leaves out what a container has not (`State.Health`).
            Err(TemplateError::Execute { message, .. }) if message.starts_with(ABSENT) => Value::Null,
            other => other?,
        };
        if kind == Branch::Range {
            return self.range(condition, &value, body, otherwise, dot);
        }
        if !condition.variables.is_empty() {
            self.assign(condition, vec![value.clone()])?;
        }
        match (truth(&value), kind) {
            (true, Branch::With) => self.nodes(body, &value),
            (true, _) => self.nodes(body, dot),
            (false, _) => self.nodes(otherwise, dot),
        }
    }

    fn range(
        &mut self,
        condition: &Pipeline,
        value: &Value,
        body: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<Flow, TemplateError> {
        let entries: Vec<(Value, Value)> = match value {
            Value::Null => Vec::new(),
            Value::Array(list) => list.iter().enumerate().map(|(index, value)| (index.into(), value.clone())).collect(),
            Value::Object(map) => {
                let mut pairs: Vec<_> =
                    map.iter().map(|(key, value)| (Value::from(key.as_str()), value.clone())).collect();
                pairs.sort_by(|left, right| left.0.as_str().cmp(&right.0.as_str()));
                pairs
            }
            Value::Number(number) => (0..number.as_i64().unwrap_or(0)).map(|n| (n.into(), n.into())).collect(),
            other => return Err(TemplateError::execute("range", format!("range can't iterate over {}", text(other)))),
        };
        if entries.is_empty() {
            return self.nodes(otherwise, dot);
        }
        let visible = self.variables.len();
        for (key, value) in entries {
            match condition.variables.len() {
                0 => {}
                1 => self.assign(condition, vec![value.clone()])?,
                _ => self.assign(condition, vec![key, value.clone()])?,
            }
            let flow = self.nodes(body, &value)?;
            self.variables.truncate(visible);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn assign(&mut self, pipeline: &Pipeline, values: Vec<Value>) -> Result<(), TemplateError> {
        for (name, value) in pipeline.variables.iter().zip(values) {
            if pipeline.declares {
                self.variables.push((name.clone(), value));
                continue;
            }
            let known = self.variables.iter_mut().rev().find(|(known, _)| known == name);
            known.ok_or_else(|| undefined(name))?.1 = value;
        }
        Ok(())
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, TemplateError> {
        let mut result = None;
        for command in &pipeline.commands {
            result = Some(self.command(command, result, dot)?);
        }
        Ok(result.unwrap_or(Value::Null))
    }

    fn command(&mut self, command: &[Operand], piped: Option<Value>, dot: &Value) -> Result<Value, TemplateError> {
        let (first, rest) = command.split_first().expect("the parser refuses empty commands");
        if let Operand::Function(name) = first {
            if let Some(value) = self.short_circuit(name, rest, piped.as_ref(), dot)? {
                return Ok(value);
            }
            let mut arguments = rest.iter().map(|operand| self.operand(operand, dot)).collect::<Result<Vec<_>, _>>()?;
            arguments.extend(piped);
            return functions::call(name, &arguments);
        }
        if let (Operand::Field(names), [key], None) = (first, rest, &piped)
            && let [name] = names.as_slice()
            && let Some(map) = self.methods.get(name)
        {
            let arguments = [map.clone(), self.operand(key, dot)?];
            return functions::call("index", &arguments);
        }
        // Docker's `{{.Label "name"}}`: a map that is called gives the entry of that name.
        if let ([key], None, Value::Object(_)) = (rest, &piped, self.operand(first, dot)?) {
            let arguments = [self.operand(first, dot)?, self.operand(key, dot)?];
            return functions::call("index", &arguments);
        }
        if matches!(first, Operand::Constant(Value::Null)) {
            return Err(TemplateError::execute("nil", "nil is not a command"));
        }
        if !rest.is_empty() || piped.is_some() {
            return Err(TemplateError::execute(describe(first), "can't give argument to non-function"));
        }
        self.operand(first, dot)
    }

    /// `and` and `or` look at no more arguments than they need.
    fn short_circuit(
        &mut self,
        name: &str,
        rest: &[Operand],
        piped: Option<&Value>,
        dot: &Value,
    ) -> Result<Option<Value>, TemplateError> {
        let stops_at = match name {
            "and" => false,
            "or" => true,
            _ => return Ok(None),
        };
        let mut last = None;
        for operand in rest {
            let value = self.operand(operand, dot)?;
            if truth(&value) == stops_at {
                return Ok(Some(value));
            }
            last = Some(value);
        }
        match piped.cloned().or(last) {
            Some(value) => Ok(Some(value)),
            None => {
                Err(TemplateError::execute(name, format!("wrong number of args for {name}: want at least 1 got 0")))
            }
        }
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, TemplateError> {
        match operand {
            Operand::Constant(value) => Ok(value.clone()),
            Operand::Field(names) => follow(dot, names),
            Operand::Variable(name, names) if name.is_empty() => follow(&self.root, names),
            Operand::Variable(name, names) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                follow(&known.ok_or_else(|| undefined(name))?.1, names)
            }
            Operand::Function(name) => functions::call(name, &[]),
            Operand::Group(pipeline, names) => follow(&self.pipeline(pipeline, dot)?, names),
        }
    }
}

fn undefined(name: &str) -> TemplateError {
    TemplateError::Parse { line: 1, message: format!("undefined variable \"${name}\"") }
}

/// Fields that are maps in docker's structures: an entry that is not there is no mistake.
const MAPS: [&str; 8] = ["Labels", "Annotations", "Sysctls", "ExposedPorts", "Volumes", "Ports", "Networks", "Tmpfs"];

fn follow(value: &Value, names: &[String]) -> Result<Value, TemplateError> {
    let mut here = value;
    for (index, name) in names.iter().enumerate() {
        let in_map = index > 0 && MAPS.contains(&names[index - 1].as_str());
        let at = || format!(".{}", names.join("."));
        here = match here {
            Value::Object(map) if in_map && !map.contains_key(name) => return Ok(Value::Null),
            Value::Object(map) => {
                map.get(name).ok_or_else(|| TemplateError::execute(at(), format!("{ABSENT} {name:?}")))?
            }
            Value::Null => {
                return Err(TemplateError::execute(at(), format!("nil data; no entry for key {name:?}")));
            }
            other => {
                return Err(TemplateError::execute(
                    at(),
                    format!("can't evaluate field {name} in type {}", kind(other)),
                ));
            }
        };
    }
    Ok(here.clone())
}

fn describe(operand: &Operand) -> String {
    match operand {
        Operand::Constant(value) => text(value),
        Operand::Field(names) => format!(".{}", names.join(".")),
        Operand::Variable(name, _) => format!("${name}"),
        Operand::Function(name) => name.clone(),
        Operand::Group(..) => "(…)".to_owned(),
    }
}
