//! Every function of the header, called wrongly in every way that C allows without undefined
//! behaviour. The program that does it is written here from the declarations, so a function
//! cannot be forgotten:
//!
//! * NULL for each pointer in turn: `SHOAL_NULL_POINTER`, but where the header allows NULL;
//! * NULL with size 0 for each array;
//! * zero, one and the largest number for each size and number, times included;
//! * settings with a `struct_size` that none ever had: `SHOAL_INVALID_STRUCT_SIZE`;
//! * structures filled with one byte all over, where they hold no pointers;
//! * nodes whose thread was freed before them, and nodes that were stopped.
//!
//! Each call gives a status that has a text and is not `SHOAL_PANIC`, and writes its outputs
//! with `SHOAL_OK` only. The program runs plainly, under the sanitizers and, but for nodes, under
//! Valgrind.

mod toolchain;

use std::fmt::Write;
use toolchain::{
    Build, Library, available, declarations, manifest_path, run, run_valgrind, scratch_path,
};

/// How the program makes each kind of handle.
const HANDLES: [(&str, &str); 8] = [
    ("shoal_engine", "shoal_engine_new(in_shoal_config, 1, 1, &handle, NULL, 0)"),
    ("shoal_node", "start_node(&handle)"),
    ("shoal_thread", "shoal_thread_start(test_backend(), SHOAL_CPU_ANY, &handle, NULL, 0)"),
    ("shoal_envelope", "shoal_envelope_new(in_shoal_secret, 1, 4, &handle, NULL, 0)"),
    ("shoal_tracker", "shoal_coordinate_new(4, 1, &handle)"),
    ("shoal_router", "shoal_router_new(in_shoal_router_config, 1, &handle, NULL, 0)"),
    ("shoal_timeouts", "shoal_timeouts_new(in_shoal_timeouts_config, 1, 1, &handle, NULL, 0)"),
    (
        "shoal_gate_timeouts",
        "shoal_gate_timeouts_new(in_shoal_timeouts_config, 1, 1, &handle, NULL, 0)",
    ),
];

/// Parameters that may be NULL although their size is not 0.
const OPTIONAL: [(&str, &str); 3] =
    [("_job_progress", "workflows"), ("", "latency_ms"), ("", "detail")];

/// Settings, which begin with their size.
const GROWING: [&str; 3] = ["shoal_config", "shoal_router_config", "shoal_timeouts_config"];

const PRELUDE: &str = r#"
#include "check.h"
#include <math.h>
#include <netinet/in.h>
#include <sys/socket.h>
#undef shoal_config_init
#undef shoal_router_config_init
#undef shoal_timeouts_config_init

enum { SPACES = 10, WATCHED = 2048, FILL = 0xa5 };
/* One space for each output of a call, larger than anything that is written there. */
static union {
  uint64_t aligned[1];
  double also[1];
  uint8_t bytes[SHOAL_METRICS_SIZE_MAX];
} space[SPACES];

static void clear(void) {
  for (int index = 0; index < SPACES; index++) memset(space[index].bytes, FILL, WATCHED);
}

static int is_clear(int index) {
  for (int at = 0; at < WATCHED; at++) {
    if (space[index].bytes[at] != FILL) return 0;
  }
  return 1;
}

/* For Valgrind, which takes long to make handles and very long to make threads: nodes are left to
 * nodes.c and null.c, and other handles serve many calls. What a call says is not foreseen then: an
 * earlier one may stand in its way. */
static int is_sparing;

static void judge(shoal_status status, const char *call) {
  if (status != SHOAL_PANIC && strcmp(shoal_status_text(status), "unknown status") != 0) return;
  fprintf(stderr, "%s gives %d (%s)\n", call, (int)status, shoal_status_text(status));
  exit(1);
}

static void expect(shoal_status status, shoal_status expected, const char *call) {
  judge(status, call);
  /* A handle in a state in which it does not do this (-10 to -19) need not look at its arguments. */
  if (status == expected || (status <= -10 && status > -20) || is_sparing) return;
  fprintf(stderr, "%s gives %d (%s), not %d\n", call, (int)status, shoal_status_text(status),
          (int)expected);
  exit(1);
}

static void untouched(int index, const char *call) {
  if (is_clear(index)) return;
  fprintf(stderr, "%s wrote its output %d without success\n", call, index);
  exit(1);
}
"#;

const ARRANGEMENT: &str = r#"
static void arrange(void) {
  struct sockaddr_in internet;
  shoal_tracker *tracker = NULL;
  memset(&internet, 0, sizeof internet);
  internet.sin_family = AF_INET;
  memcpy(&in_storage, &internet, sizeof internet);
  forget_inputs();
  in_shoal_secret[0] = test_secret();
  in_shoal_address[0] = test_address("127.0.0.1:9000");
  CHECK_STATUS(shoal_config_init_sized(in_shoal_config, sizeof(shoal_config)), SHOAL_OK);
  in_shoal_config[0].secrets = in_shoal_secret;
  in_shoal_config[0].secret_count = 1;
  in_shoal_config[0].advertise = in_shoal_address[0];
  in_shoal_config[0].bind = test_address("127.0.0.1:0");
  in_shoal_config[0].backend = test_backend();
  CHECK_STATUS(
      shoal_router_config_init_sized(in_shoal_router_config, sizeof(shoal_router_config)),
      SHOAL_OK);
  CHECK_STATUS(
      shoal_timeouts_config_init_sized(in_shoal_timeouts_config, sizeof(shoal_timeouts_config)),
      SHOAL_OK);
  strcpy(in_shoal_datacenter_target[0].datacenter, "east");
  strcpy(in_shoal_datacenter_snapshot[0].datacenter, "east");
  in_shoal_job_start[0].timeout_ms = 1000;
  in_shoal_job_snapshot[0].timeout_ns = 1000000000;
  in_shoal_gate_job_snapshot[0].timeout_ns = 1000000000;
  CHECK_STATUS(shoal_coordinate_new(4, 1, &tracker), SHOAL_OK);
  CHECK_STATUS(shoal_coordinate_own(tracker, in_shoal_coordinate), SHOAL_OK);
  CHECK_STATUS(shoal_coordinate_save(tracker, in_shoal_coordinate_snapshot), SHOAL_OK);
  shoal_coordinate_free(tracker);
}

/* A node of a thread that was given up before it. */
static shoal_status start_node(shoal_node **handle) {
  shoal_config config = in_shoal_config[0];
  shoal_thread *thread = NULL;
  shoal_status status;
  memset(&config.advertise, 0, sizeof config.advertise);
  status = shoal_thread_start(test_backend(), SHOAL_CPU_ANY, &thread, NULL, 0);
  if (status != SHOAL_OK) return status;
  status = shoal_node_start_on(thread, &config, handle, NULL, 0);
  shoal_thread_free(thread);
  return status;
}
"#;

struct Parameter {
    /// The type as the header has it, without "struct".
    kind: String,
    name: String,
}

impl Parameter {
    fn is_pointer(&self) -> bool {
        self.kind.ends_with('*')
    }

    fn is_const(&self) -> bool {
        self.kind.starts_with("const ")
    }

    /// What it is or points to.
    fn base(&self) -> &str {
        self.kind.trim_start_matches("const ").trim_end_matches([' ', '*'])
    }

    fn is_handle(&self) -> bool {
        self.kind.matches('*').count() == 1 && HANDLES.iter().any(|(kind, _)| *kind == self.base())
    }

    fn creates_handle(&self) -> bool {
        self.kind.ends_with("**") && HANDLES.iter().any(|(kind, _)| *kind == self.base())
    }

    /// Whether the function writes there only when it succeeds.
    fn is_output(&self) -> bool {
        self.is_pointer()
            && (!self.is_const() || self.kind.ends_with("**"))
            && !self.is_handle()
            && !["detail", "datagram"].contains(&self.name.as_str())
    }

    /// Whether it is a structure that the function reads, and nothing but numbers.
    fn is_plain_input(&self, header: &str) -> bool {
        if !self.is_const() || !self.base().starts_with("shoal_") || self.is_handle() {
            return false;
        }
        let start = format!("typedef struct {} {{", self.base());
        let body = header.split(&start).nth(1).expect("every structure is declared");
        let body = body.split("\n}").next().expect("a declaration ends");
        let fields = body.lines().map(str::trim).filter(|line| !line.starts_with(['/', '*']));
        !fields.into_iter().any(|field| field.contains('*'))
    }
}

struct Function {
    returns: String,
    name: String,
    parameters: Vec<Parameter>,
}

impl Function {
    fn parse(declaration: &str) -> Function {
        let (head, list) = declaration.split_once('(').expect("a function has parentheses");
        let name_at = head.rfind("shoal_").expect("every name begins alike");
        let list = list.strip_suffix(')').expect("a declaration ends so");
        let list =
            list.split(',').map(str::trim).filter(|text| !text.is_empty() && *text != "void");
        let parse = |text: &str| {
            let name_at = text.rfind([' ', '*']).expect("a type and a name") + 1;
            let kind = text[..name_at].trim().replace("struct shoal_", "shoal_");
            Parameter { kind, name: text[name_at..].to_owned() }
        };
        Function {
            returns: head[..name_at].trim().to_owned(),
            name: head[name_at..].to_owned(),
            parameters: list.map(parse).collect(),
        }
    }

    /// What a reasonable program passes.
    fn usual(&self, index: usize) -> String {
        let Parameter { kind, name } = &self.parameters[index];
        let parameter = &self.parameters[index];
        let base = parameter.base();
        if parameter.is_handle() {
            return format!("the_{base}");
        }
        if kind == "const struct sockaddr *" {
            return "(const struct sockaddr *)&in_storage".to_owned();
        }
        if parameter.is_pointer() && !parameter.is_output() && parameter.is_const() {
            return match base {
                "char" if name == "text" => "\"127.0.0.1:9000\"".to_owned(),
                "char" => "\"east\"".to_owned(),
                _ if base.starts_with("shoal_") => format!("in_{base}"),
                _ => format!("({kind})(const void *)in_numbers"),
            };
        }
        if parameter.is_pointer() {
            return format!("({kind})(void *)space[{index}].bytes");
        }
        let sized = index.checked_sub(1).map(|before| &self.parameters[before]);
        match (kind.as_str(), name.as_str(), sized) {
            (_, "struct_size", Some(sized)) => format!("sizeof({})", sized.base()),
            (_, "cpu", _) => "SHOAL_CPU_ANY".to_owned(),
            (_, "family", _) => "AF_INET".to_owned(),
            ("size_t", _, Some(sized)) if sized.base() == "struct sockaddr" => {
                "sizeof in_storage".to_owned()
            }
            ("size_t", _, Some(sized))
                if sized.is_output() && !sized.base().starts_with("shoal") =>
            {
                "sizeof space[0].bytes".to_owned()
            }
            ("size_t", "size", _) => "16".to_owned(),
            _ => "1".to_owned(),
        }
    }

    /// One call, with `value` for the parameter at `index`, and what has to hold afterwards.
    fn call(&self, changed: &[(usize, &str)], expected: Option<&str>) -> String {
        let argument = |index: usize| {
            let change = changed.iter().find(|(at, _)| *at == index);
            change.map_or_else(|| self.usual(index), |(_, value)| (*value).to_owned())
        };
        let arguments: Vec<String> = (0..self.parameters.len()).map(argument).collect();
        let call = format!("{}({})", self.name, arguments.join(", "));
        let text = call.replace('"', "'");
        let mut code = String::new();
        if self.returns != "shoal_status" {
            let wanted = if self.returns.contains('*') { " != NULL" } else { " != 12345" };
            return match self.returns.as_str() {
                "void" => format!("  {call};\n"),
                _ => format!("  CHECK({call}{wanted});\n"),
            };
        }
        writeln!(code, "  clear();\n  status = {call};").unwrap();
        match expected {
            Some(expected) => writeln!(code, "  expect(status, {expected}, \"{text}\");").unwrap(),
            None => writeln!(code, "  judge(status, \"{text}\");").unwrap(),
        }
        for (index, parameter) in self.parameters.iter().enumerate() {
            if parameter.is_output() && !arguments[index].contains("NULL") {
                writeln!(code, "  if (status != SHOAL_OK) untouched({index}, \"{text}\");")
                    .unwrap();
            }
            if parameter.creates_handle() && expected.is_none() {
                let base = parameter.base();
                writeln!(code, "  if (status == SHOAL_OK) end_{base}({index});").unwrap();
            }
        }
        code
    }

    /// New handles, so that no call stands in the shadow of an earlier one. A node costs a
    /// thread and a socket, so one serves all calls of a function.
    fn renew(&self, with_nodes: bool) -> String {
        let handles = self.parameters.iter().filter(|parameter| parameter.is_handle());
        let kinds = handles.map(Parameter::base).filter(|kind| with_nodes || *kind != "shoal_node");
        let condition = if with_nodes { "" } else { "if (!is_sparing) " };
        kinds.map(|kind| format!("  {condition}renew_{kind}();\n")).collect()
    }

    fn test(&self, header: &str) -> String {
        let mut code = format!("static void test_{}(void) {{\n", self.name);
        if self.returns == "shoal_status" {
            code += "  shoal_status status;\n";
        }
        if self.returns == "void" {
            assert_eq!(self.parameters.len(), 1, "{} only frees", self.name);
            return code + &self.call(&[(0, "NULL")], None) + "}\n\n";
        }
        code += &self.renew(true);
        code += &self.call(&[], None);
        for (index, parameter) in self.parameters.iter().enumerate() {
            if parameter.is_pointer() {
                code += &self.with_null(index);
            } else {
                code += &self.with_extremes(index);
            }
            if GROWING.contains(&parameter.base()) && parameter.is_const() {
                code += &self.with_wrong_sizes(index);
            }
            if parameter.is_plain_input(header) && !GROWING.contains(&parameter.base()) {
                for fill in ["0xff", "1"] {
                    let base = parameter.base();
                    code += &self.renew(false);
                    writeln!(code, "  memset(in_{base}, {fill}, sizeof in_{base});").unwrap();
                    code += &self.call(&[], None);
                    code += "  arrange();\n";
                }
            }
        }
        if self.parameters.iter().any(|parameter| parameter.base() == "shoal_node") {
            code += "  if (the_shoal_node != NULL) shoal_node_stop(the_shoal_node);\n";
            code += &self.call(&[], None);
        }
        code + "}\n\n"
    }

    fn with_null(&self, index: usize) -> String {
        let parameter = &self.parameters[index];
        let may_be_null =
            OPTIONAL.iter().any(|(end, name)| self.name.ends_with(end) && parameter.name == *name);
        let expected = (!may_be_null).then_some("SHOAL_NULL_POINTER");
        if self.returns != "shoal_status" {
            return self.call(&[(index, "NULL")], None);
        }
        let mut code = self.renew(false) + &self.call(&[(index, "NULL")], expected);
        let next = self.parameters.get(index + 1);
        if next.is_some_and(|next| next.kind == "size_t") {
            code += &self.renew(false);
            code += &self.call(&[(index, "NULL"), (index + 1, "0")], None);
        }
        code
    }

    fn with_extremes(&self, index: usize) -> String {
        let extremes: &[&str] = match self.parameters[index].kind.as_str() {
            "size_t" => &["0", "1", "SIZE_MAX / 2 + 1", "SIZE_MAX"],
            "uint64_t" => &["0", "INT64_MAX", "UINT64_MAX - 1", "UINT64_MAX"],
            "uint32_t" => &["0", "7", "UINT32_MAX"],
            "uint16_t" => &["0", "7", "UINT16_MAX"],
            "uint8_t" => &["0", "7", "UINT8_MAX"],
            "int32_t" | "int" | "shoal_status" => &["0", "7", "INT32_MIN", "INT32_MAX"],
            "double" => &["0", "-1", "1e308", "NAN", "INFINITY"],
            other => panic!("{} takes a {other}: say which values are extreme", self.name),
        };
        let call = |value: &&str| self.renew(false) + &self.call(&[(index, *value)], None);
        extremes.iter().map(call).collect()
    }

    fn with_wrong_sizes(&self, index: usize) -> String {
        let base = self.parameters[index].base();
        let size = format!("sizeof({base})");
        let mut code = String::new();
        for wrong in ["0", "1", "8", &format!("{size} - 1"), &format!("{size} + 1"), "SIZE_MAX - 7"]
        {
            writeln!(code, "  in_{base}[0].struct_size = {wrong};").unwrap();
            code += &self.call(&[], Some("SHOAL_INVALID_STRUCT_SIZE"));
        }
        code + "  arrange();\n"
    }
}

/// The whole program.
fn program(functions: &[Function], header: &str) -> String {
    let mut code = PRELUDE.to_owned();
    let parameters = || functions.iter().flat_map(|function| &function.parameters);
    let opaque = |line: &str| {
        let name = line.strip_prefix("typedef struct ")?.strip_suffix(';')?.split(' ').next()?;
        Some(name.to_owned())
    };
    for kind in header.lines().filter_map(opaque) {
        let is_known = HANDLES.iter().any(|(known, _)| *known == kind);
        assert!(is_known, "{kind} is a new handle: say in HANDLES how it is made");
    }
    let mut inputs: Vec<&str> = parameters()
        .filter(|one| one.is_const() && one.base().starts_with("shoal_") && !one.is_handle())
        .map(Parameter::base)
        .collect();
    inputs.sort_unstable();
    inputs.dedup();
    code += "\nstatic const uint64_t in_numbers[1024];\n";
    code += "static struct sockaddr_storage in_storage;\n";
    inputs.iter().for_each(|kind| writeln!(code, "static {kind} in_{kind}[4];").unwrap());
    code += "\nstatic void forget_inputs(void) {\n";
    for kind in inputs {
        writeln!(code, "  memset(in_{kind}, 0, sizeof in_{kind});").unwrap();
    }
    code += "}\n";
    code += ARRANGEMENT;
    for (kind, make) in HANDLES {
        let mut ends = functions.iter().filter(|one| one.returns == "void");
        let end = ends.find(|one| one.parameters[0].base() == kind).expect("every handle ends");
        let free = &end.name;
        write!(
            code,
            "\nstatic {kind} *the_{kind};\n\nstatic void free_{kind}(void) {{\n  \
             {free}(the_{kind});\n  the_{kind} = NULL;\n}}\n\n\
             static void renew_{kind}(void) {{\n  {kind} *handle = NULL;\n  free_{kind}();\n  \
             CHECK_STATUS({make}, SHOAL_OK);\n  the_{kind} = handle;\n}}\n\n\
             static inline void end_{kind}(int index) {{\n  {kind} *handle;\n  \
             memcpy(&handle, space[index].bytes, sizeof handle);\n  {free}(handle);\n}}\n"
        )
        .unwrap();
    }
    code += "\n";
    functions.iter().for_each(|function| code += &function.test(header));
    code += "int main(int argc, char **argv) {\n  (void)argv;\n  is_sparing = argc > 1;\n  arrange();\n";
    for function in functions {
        let threads = ["shoal_node_", "shoal_thread_"];
        let has_threads = threads.iter().any(|prefix| function.name.starts_with(prefix));
        let condition = if has_threads { "if (!is_sparing) " } else { "" };
        writeln!(code, "  {condition}test_{}();", function.name).unwrap();
    }
    HANDLES.iter().for_each(|(kind, _)| writeln!(code, "  free_{kind}();").unwrap());
    code + "  return 0;\n}\n"
}

/// Writes the program and builds it.
fn build(variant: &str, flags: &[&str]) -> std::path::PathBuf {
    let header = std::fs::read_to_string(manifest_path("include/shoal.h")).unwrap();
    let functions: Vec<_> = declarations().iter().map(|text| Function::parse(text)).collect();
    assert!(functions.len() > 150, "all declarations are found");
    let source = scratch_path(&format!("matrix-{variant}.c"));
    std::fs::write(&source, program(&functions, &header)).unwrap();
    let name = format!("matrix-{variant}");
    let sources = [source.to_str().expect("paths here are text")];
    let checks = format!("-I{}", manifest_path("tests/c").display());
    let mut all = vec![checks.as_str(), "-std=c11", "-fno-strict-aliasing"];
    all.extend(flags);
    let library = Library::Shared;
    Build { compiler: "cc", name: &name, sources: &sources, flags: &all, library }.finish()
}

#[test]
fn no_call_crashes_whatever_it_is_given() {
    run(&build("plain", &[]), &[]);
}

#[test]
fn no_call_touches_what_it_must_not() {
    let flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    run(&build("sanitized", &flags), &[]);
}

#[test]
fn no_call_reads_what_nobody_wrote() {
    if available("valgrind") {
        run_valgrind(&build("valgrind", &[]), &["sparing"]);
    }
}
