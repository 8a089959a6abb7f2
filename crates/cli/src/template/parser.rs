//! Tokens to a tree.

use std::collections::HashMap;

use serde_json::Value;

use super::error::TemplateError;
use super::lexer::{Token, lex};

/// Deepest nesting of blocks and parentheses: far above any real template, far below the stack's end.
const DEPTH_MAX: usize = 100;

/// A piece of output.
#[derive(Debug)]
pub enum Node {
    Text(String),
    Print(Pipeline),
    Branch {
        kind: Branch,
        condition: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    /// What was defined under this name, with the pipeline's value as the dot.
    Template(String, Option<Pipeline>),
    Break,
    Continue,
}

/// The blocks that take a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Branch {
    If,
    With,
    Range,
}

/// Commands joined by `|`, and the variables that take the result.
#[derive(Debug)]
pub struct Pipeline {
    pub variables: Vec<String>,
    pub declares: bool,
    pub commands: Vec<Vec<Operand>>,
}

/// A word of a command.
#[derive(Debug)]
pub enum Operand {
    Constant(Value),
    Field(Vec<String>),
    Variable(String, Vec<String>),
    Function(String),
    Group(Box<Pipeline>, Vec<String>),
}

/// What templates are called by `{{template "name"}}`.
pub type Definitions = HashMap<String, Vec<Node>>;

/// Parses a whole template: its nodes, and what it defines.
pub fn parse(text: &str) -> Result<(Vec<Node>, Definitions), TemplateError> {
    let mut parser = Parser { tokens: lex(text)?, at: 0, depth: 0, loops: 0, definitions: HashMap::new() };
    let (nodes, end) = parser.nodes()?;
    match end {
        Stop::Eof => Ok((nodes, parser.definitions)),
        Stop::End => parser.fail("unexpected {{end}}"),
        Stop::Else(_) => parser.fail("unexpected {{else}}"),
    }
}

/// What closed a list of nodes; `else if` and `else with` carry their own branch.
enum Stop {
    Eof,
    End,
    Else(Option<Branch>),
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    at: usize,
    depth: usize,
    loops: usize,
    definitions: Definitions,
}

impl Parser {
    fn fail<T>(&self, message: impl Into<String>) -> Result<T, TemplateError> {
        let token = self.tokens.get(self.at).or(self.tokens.last());
        Err(TemplateError::Parse { line: token.map_or(1, |(_, line)| *line), message: message.into() })
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).map(|(token, _)| token.clone());
        self.at += 1;
        token
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    fn close(&mut self) -> Result<(), TemplateError> {
        match self.next() {
            Some(Token::Close) => Ok(()),
            other => self.fail(format!("unexpected {} in action", describe(other.as_ref()))),
        }
    }

    fn deeper(&mut self) -> Result<(), TemplateError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { self.fail(format!("nested deeper than {DEPTH_MAX}")) } else { Ok(()) }
    }

    fn nodes(&mut self) -> Result<(Vec<Node>, Stop), TemplateError> {
        let mut nodes = Vec::new();
        loop {
            match self.next() {
                None => return Ok((nodes, Stop::Eof)),
                Some(Token::Text(text)) => nodes.push(Node::Text(text)),
                Some(_) => match self.action()? {
                    Action::Node(node) => nodes.push(node),
                    Action::Nothing => {}
                    Action::Stop(end) => return Ok((nodes, end)),
                },
            }
        }
    }

    fn action(&mut self) -> Result<Action, TemplateError> {
        let word = match self.peek() {
            Some(Token::Word(word)) => word.clone(),
            _ => String::new(),
        };
        let branch = match word.as_str() {
            "if" => Some(Branch::If),
            "with" => Some(Branch::With),
            "range" => Some(Branch::Range),
            _ => None,
        };
        if let Some(kind) = branch {
            self.at += 1;
            return self.branch(kind).map(Action::Node);
        }
        match word.as_str() {
            "end" => self.ending(Stop::End),
            "else" => {
                self.at += 1;
                let next = match self.peek() {
                    Some(Token::Word(word)) if word == "if" => Some(Branch::If),
                    Some(Token::Word(word)) if word == "with" => Some(Branch::With),
                    _ => None,
                };
                if next.is_some() {
                    self.at += 1;
                } else {
                    self.close()?;
                }
                Ok(Action::Stop(Stop::Else(next)))
            }
            "break" | "continue" if self.loops == 0 => self.fail(format!("{{{{{word}}}}} outside {{{{range}}}}")),
            "break" => self.simple(Node::Break),
            "continue" => self.simple(Node::Continue),
            "define" if self.depth > 0 => self.fail("unexpected {{define}}"),
            "define" => {
                let name = self.name()?;
                self.close()?;
                self.definition(name)?;
                Ok(Action::Nothing)
            }
            "template" => {
                let name = self.name()?;
                let dot = if self.peek() == Some(&Token::Close) { None } else { Some(self.pipeline()?) };
                self.close()?;
                Ok(Action::Node(Node::Template(name, dot)))
            }
            "block" => {
                let name = self.name()?;
                let dot = self.pipeline()?;
                self.close()?;
                self.definition(name.clone())?;
                Ok(Action::Node(Node::Template(name, Some(dot))))
            }
            _ => {
                let pipeline = self.pipeline()?;
                self.close()?;
                Ok(Action::Node(Node::Print(pipeline)))
            }
        }
    }

    fn ending(&mut self, end: Stop) -> Result<Action, TemplateError> {
        self.at += 1;
        self.close()?;
        Ok(Action::Stop(end))
    }

    fn simple(&mut self, node: Node) -> Result<Action, TemplateError> {
        self.at += 1;
        self.close()?;
        Ok(Action::Node(node))
    }

    /// The quoted name behind `define`, `template` or `block`.
    fn name(&mut self) -> Result<String, TemplateError> {
        self.at += 1;
        match self.next() {
            Some(Token::Literal(name)) => Ok(name),
            other => self.fail(format!("unexpected {} in template clause", describe(other.as_ref()))),
        }
    }

    /// Everything up to `{{end}}`, under a name. Loops around it are none of its own.
    fn definition(&mut self, name: String) -> Result<(), TemplateError> {
        self.deeper()?;
        let loops = std::mem::take(&mut self.loops);
        let (nodes, end) = self.nodes()?;
        self.loops = loops;
        self.depth -= 1;
        match end {
            Stop::End => {
                self.definitions.insert(name, nodes);
                Ok(())
            }
            Stop::Eof => self.fail("unexpected EOF"),
            Stop::Else(_) => self.fail("unexpected {{else}} in define clause"),
        }
    }

    fn branch(&mut self, kind: Branch) -> Result<Node, TemplateError> {
        self.deeper()?;
        self.loops += usize::from(kind == Branch::Range);
        let condition = self.pipeline()?;
        self.close()?;
        let (body, end) = self.nodes()?;
        self.loops -= usize::from(kind == Branch::Range);
        let otherwise = match end {
            Stop::End => Vec::new(),
            Stop::Eof => return self.fail("unexpected EOF"),
            Stop::Else(Some(next)) => vec![self.branch(next)?],
            Stop::Else(None) => match self.nodes()? {
                (nodes, Stop::End) => nodes,
                (_, Stop::Eof) => return self.fail("unexpected EOF"),
                (_, Stop::Else(_)) => return self.fail("expected end; found {{else}}"),
            },
        };
        self.depth -= 1;
        Ok(Node::Branch { kind, condition, body, otherwise })
    }

    fn pipeline(&mut self) -> Result<Pipeline, TemplateError> {
        let (variables, declares) = self.targets();
        let mut commands = vec![self.command()?];
        while self.peek() == Some(&Token::Pipe) {
            self.at += 1;
            commands.push(self.command()?);
        }
        Ok(Pipeline { variables, declares, commands })
    }

    /// `$x :=`, `$i, $x :=`, `$x =`, or nothing.
    fn targets(&mut self) -> (Vec<String>, bool) {
        let mut variables = Vec::new();
        let mut at = self.at;
        while let Some((Token::Variable(name), _)) = self.tokens.get(at) {
            variables.push(name.clone());
            match self.tokens.get(at + 1) {
                Some((Token::Comma, _)) => at += 2,
                Some((token @ (Token::Declare | Token::Assign), _)) => {
                    let declares = *token == Token::Declare;
                    self.at = at + 2;
                    return (variables, declares);
                }
                _ => break,
            }
        }
        (Vec::new(), false)
    }

    fn command(&mut self) -> Result<Vec<Operand>, TemplateError> {
        let mut operands = Vec::new();
        loop {
            match self.peek() {
                Some(Token::Pipe | Token::Close | Token::Right) | None => break,
                Some(_) => operands.push(self.operand()?),
            }
        }
        if operands.is_empty() {
            return self.fail("missing value for command");
        }
        Ok(operands)
    }

    fn operand(&mut self) -> Result<Operand, TemplateError> {
        let token = self.next();
        Ok(match token {
            Some(Token::Literal(text)) => Operand::Constant(Value::String(text)),
            Some(Token::Integer(number)) => Operand::Constant(number.into()),
            Some(Token::Float(number)) => Operand::Constant(number.into()),
            Some(Token::Field(names)) => Operand::Field(names),
            Some(Token::Variable(name)) => Operand::Variable(name, self.chain()),
            Some(Token::Word(word)) => match word.as_str() {
                "true" => Operand::Constant(true.into()),
                "false" => Operand::Constant(false.into()),
                "nil" => Operand::Constant(Value::Null),
                _ => Operand::Function(word),
            },
            Some(Token::Left) => {
                self.deeper()?;
                let inner = self.pipeline()?;
                if self.next() != Some(Token::Right) {
                    return self.fail("unclosed left paren");
                }
                self.depth -= 1;
                Operand::Group(Box::new(inner), self.chain())
            }
            other => return self.fail(format!("unexpected {} in operand", describe(other.as_ref()))),
        })
    }

    fn chain(&mut self) -> Vec<String> {
        match self.peek() {
            Some(Token::Chain(names)) => {
                let names = names.clone();
                self.at += 1;
                names
            }
            _ => Vec::new(),
        }
    }
}

enum Action {
    Node(Node),
    Nothing,
    Stop(Stop),
}

fn describe(token: Option<&Token>) -> String {
    match token {
        None => "EOF".to_owned(),
        Some(Token::Close) => "\"}}\"".to_owned(),
        Some(Token::Word(word)) => format!("<{word}>"),
        Some(Token::Literal(text)) => format!("{text:?}"),
        Some(other) => format!("{other:?}").to_lowercase(),
    }
}
