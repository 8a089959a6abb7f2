//! Changes to an image's config in Dockerfile words, as `commit -c` and `import -c` take them.
//!
//! Spec: docker's: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, SHELL, STOPSIGNAL, USER, VOLUME, WORKDIR.
//! Law: pure. A change that cannot be read changes nothing.

use knarr_spec::image::{ContainerConfig, Empty};
use serde_json::{Value, json};

use super::problem::ImageProblem;

/// Docker's shell for commands that are no list.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// Applies the changes one after the other.
pub fn apply(config: &mut ContainerConfig, changes: &[String]) -> Result<(), ImageProblem> {
    let mut changed = config.clone();
    for text in changes {
        one(&mut changed, text).map_err(|why| ImageProblem::Change { text: text.clone(), why })?;
    }
    *config = changed;
    Ok(())
}

fn one(config: &mut ContainerConfig, text: &str) -> Result<(), &'static str> {
    let text = text.trim();
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let rest = rest.trim();
    if rest.is_empty() {
        return Err("the instruction has no argument");
    }
    match word.to_ascii_uppercase().as_str() {
        "CMD" => config.cmd = Some(command(config, rest)),
        "ENTRYPOINT" => {
            config.entrypoint = Some(command(config, rest));
        }
        "ENV" => {
            for (name, value) in pairs(rest, true)? {
                let entry = format!("{name}={value}");
                match config.env.iter_mut().find(|known| known.split('=').next() == Some(&name)) {
                    Some(known) => *known = entry,
                    None => config.env.push(entry),
                }
            }
        }
        "LABEL" => config.labels.extend(pairs(rest, true)?),
        "EXPOSE" => {
            for port in rest.split_whitespace() {
                config.exposed_ports.insert(with_protocol(port)?, Empty {});
            }
        }
        "VOLUME" => config.volumes.extend(list(rest).into_iter().map(|path| (path, Empty {}))),
        "USER" => config.user = rest.to_owned(),
        "WORKDIR" => config.working_dir = workdir(&config.working_dir, rest),
        "STOPSIGNAL" => config.stop_signal = Some(rest.to_owned()),
        "SHELL" => config.shell = Some(json_list(rest).ok_or("SHELL takes a JSON list")?),
        "ONBUILD" => config.on_build.get_or_insert_default().push(rest.to_owned()),
        "HEALTHCHECK" => config.healthcheck = Some(health_check(rest)?),
        _ => return Err("is not a valid change command"),
    }
    Ok(())
}

/// A JSON list is exec form; anything else goes to the shell.
fn command(config: &ContainerConfig, text: &str) -> Vec<String> {
    json_list(text).unwrap_or_else(|| {
        let shell = config.shell.clone().unwrap_or_else(|| SHELL.map(str::to_owned).to_vec());
        shell.into_iter().chain([text.to_owned()]).collect()
    })
}

fn json_list(text: &str) -> Option<Vec<String>> {
    text.starts_with('[').then(|| serde_json::from_str(text).ok())?
}

/// A JSON list, or words.
fn list(text: &str) -> Vec<String> {
    json_list(text).unwrap_or_else(|| text.split_whitespace().map(str::to_owned).collect())
}

fn with_protocol(port: &str) -> Result<String, &'static str> {
    let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    let fits = |text: &str| text.parse::<u16>().is_ok_and(|port| port > 0);
    let is_port = number.split_once('-').map_or(fits(number), |(low, high)| fits(low) && fits(high));
    match protocol.as_str() {
        "tcp" | "udp" | "sctp" if is_port => Ok(format!("{number}/{protocol}")),
        _ => Err("expected a port, as 80 or 53/udp"),
    }
}

fn workdir(old: &str, new: &str) -> String {
    match (new.starts_with('/'), old) {
        (true, _) => new.to_owned(),
        (false, "") => format!("/{new}"),
        (false, old) => format!("{}/{new}", old.trim_end_matches('/')),
    }
}

/// `NAME=value NAME2="two words"`; where `old_form` is known, `NAME all the rest`.
fn pairs(text: &str, old_form: bool) -> Result<Vec<(String, String)>, &'static str> {
    let words = words(text)?;
    if !words[0].contains('=') {
        let (name, value) = text.split_once(char::is_whitespace).filter(|_| old_form).ok_or("expected NAME=VALUE")?;
        return Ok(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    let pair = |word: String| {
        let (name, value) = word.split_once('=').ok_or("expected NAME=VALUE")?;
        if name.is_empty() { Err("a name is empty") } else { Ok((name.to_owned(), value.to_owned())) }
    };
    words.into_iter().map(pair).collect()
}

/// Words with quotes and backslashes as the builder reads them.
fn words(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', None | Some('"')) => word.get_or_insert_default().extend(chars.next()),
            (c, Some(open)) if c == open => quote = None,
            (c, Some(_)) => word.get_or_insert_default().push(c),
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, None) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    match (quote, words.is_empty()) {
        (Some(_), _) => Err("a quote is not closed"),
        (None, true) => Err("the instruction has no argument"),
        (None, false) => Ok(words),
    }
}

fn health_check(text: &str) -> Result<Value, &'static str> {
    if text.eq_ignore_ascii_case("none") {
        return Ok(json!({"Test": ["NONE"]}));
    }
    let mut check = serde_json::Map::new();
    let mut rest = text;
    while let Some(option) = rest.strip_prefix("--") {
        let (option, after) = option.split_once(char::is_whitespace).ok_or("CMD or NONE is missing")?;
        let (name, value) = option.split_once('=').ok_or("expected --OPTION=VALUE")?;
        let (field, value) = match name {
            "interval" => ("Interval", json!(duration_ns(value)?)),
            "timeout" => ("Timeout", json!(duration_ns(value)?)),
            "start-period" => ("StartPeriod", json!(duration_ns(value)?)),
            "start-interval" => ("StartInterval", json!(duration_ns(value)?)),
            "retries" => ("Retries", json!(value.parse::<u32>().map_err(|_| "retries is no number")?)),
            _ => return Err("is no option of HEALTHCHECK"),
        };
        check.insert(field.to_owned(), value);
        rest = after.trim_start();
    }
    let (word, command_text) = rest.split_once(char::is_whitespace).ok_or("CMD or NONE is missing")?;
    if !word.eq_ignore_ascii_case("cmd") {
        return Err("CMD or NONE is missing");
    }
    let command_text = command_text.trim();
    let test = match json_list(command_text) {
        Some(list) => ["CMD".to_owned()].into_iter().chain(list).collect(),
        None => vec!["CMD-SHELL".to_owned(), command_text.to_owned()],
    };
    check.insert("Test".to_owned(), json!(test));
    Ok(Value::Object(check))
}

/// Go's durations: `1m30s`, `500ms`.
fn duration_ns(text: &str) -> Result<u64, &'static str> {
    const UNITS: [(&str, f64); 6] = [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];
    let wrong = "expected a duration, as 30s or 1m30s";
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong)?;
        let unit = UNITS.iter().find(|(unit, _)| {
            rest[digits..].strip_prefix(unit).is_some_and(|after| !after.starts_with(|c: char| c.is_alphabetic()))
        });
        let (unit, ns) = unit.ok_or(wrong)?;
        total += number * ns;
        rest = &rest[digits + unit.len()..];
    }
    if text.is_empty() { Err(wrong) } else { Ok(total as u64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(changes: &[&str], expect: Value) {
        let mut config = ContainerConfig::default();
        let changes: Vec<String> = changes.iter().map(|text| (*text).to_owned()).collect();
        apply(&mut config, &changes).unwrap();
        assert_eq!(serde_json::to_value(&config).unwrap(), expect, "{changes:?}");
    }

    fn refused(text: &str) {
        assert!(apply(&mut ContainerConfig::default(), &[text.to_owned()]).is_err(), "{text}");
    }

    #[test]
    fn a_list_is_exec_form_and_text_goes_to_the_shell() {
        check(&[r#"CMD ["a", "b c"]"#], json!({"Cmd": ["a", "b c"]}));
        check(&["cmd a b"], json!({"Cmd": ["/bin/sh", "-c", "a b"]}));
        check(
            &[r#"SHELL ["bash","-c"]"#, "ENTRYPOINT x"],
            json!({"Shell": ["bash", "-c"], "Entrypoint": ["bash", "-c", "x"]}),
        );
    }

    #[test]
    fn environment_and_labels_have_two_forms() {
        check(&["ENV A=1 B=\"two words\"", "ENV A=2"], json!({"Env": ["A=2", "B=two words"]}));
        check(&["ENV A all the rest"], json!({"Env": ["A=all the rest"]}));
        check(&["LABEL a=b c='d e'"], json!({"Labels": {"a": "b", "c": "d e"}}));
    }

    #[test]
    fn the_others() {
        check(&["EXPOSE 80 53/udp"], json!({"ExposedPorts": {"53/udp": {}, "80/tcp": {}}}));
        check(&["VOLUME /a /b", r#"VOLUME ["/c d"]"#], json!({"Volumes": {"/a": {}, "/b": {}, "/c d": {}}}));
        check(&["USER a:b", "WORKDIR /x", "WORKDIR y"], json!({"User": "a:b", "WorkingDir": "/x/y"}));
        check(&["STOPSIGNAL SIGINT", "ONBUILD RUN x"], json!({"StopSignal": "SIGINT", "OnBuild": ["RUN x"]}));
        check(
            &["HEALTHCHECK --interval=1m30s --retries=2 CMD curl x"],
            json!({"Healthcheck": {"Interval": 90_000_000_000_u64, "Retries": 2, "Test": ["CMD-SHELL", "curl x"]}}),
        );
        check(&["HEALTHCHECK NONE"], json!({"Healthcheck": {"Test": ["NONE"]}}));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for text in
            ["", "CMD", "RUN x", "ENV A", "ENV A=1 B", "ENV A=\"x", "EXPOSE x", "EXPOSE 0", "SHELL x", "HEALTHCHECK x"]
        {
            refused(text);
        }
    }
}
