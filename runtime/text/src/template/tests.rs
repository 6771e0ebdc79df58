//! Limits, refusals and the parts of Python that templates lean on.

use alloc::format;
use alloc::string::String;

use serde_json::json;

use super::{Context, DateTime, ErrorKind, Limits, render, render_within};

const SMALL: Limits = Limits {
    source_bytes: 1000,
    steps: 20_000,
    output_bytes: 1000,
    recursion: 50,
    depth: 8,
};

fn kind(template: &str, context: &Context) -> Option<ErrorKind> {
    render_within(template, context, &SMALL)
        .err()
        .map(|error| error.kind())
}

fn with_x(x: serde_json::Value) -> Context {
    let mut context = Context::default();
    context.extra.insert("x".into(), x);
    context
}

#[test]
fn a_refusal_of_the_template_is_its_own_kind_and_keeps_the_message() {
    let error = render(
        "line one\n{{ raise_exception('roles must ' ~ 'alternate') }}",
        &Context::default(),
    );
    let error = error.expect_err("the template raises");
    assert_eq!(error.kind(), ErrorKind::Raised);
    assert_eq!(error.detail(), "roles must alternate");
    assert_eq!(error.line(), Some(2));
    assert_eq!(
        format!("{error}"),
        "chat template refused the conversation, line 2: roles must alternate"
    );
}

#[test]
fn a_refusal_inside_a_macro_is_still_a_refusal() {
    let template = "{% macro m() %}{{ raise_exception('no') }}{% endmacro %}{{ m() }}";
    assert_eq!(kind(template, &Context::default()), Some(ErrorKind::Raised));
}

#[test]
fn hostile_templates_meet_a_limit() {
    for (template, expected) in [
        (
            "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
            ErrorKind::TooManySteps,
        ),
        ("{% set x = 'a' * 1000000000 %}", ErrorKind::TooManySteps),
        (
            "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x|length }}",
            ErrorKind::TooManySteps,
        ),
        (
            "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x.replace('a', 'aa') %}{% endfor %}{{ ns.x|length }}",
            ErrorKind::TooManySteps,
        ),
        ("{{ 'a' * 2000 }}", ErrorKind::OutputTooLong),
        (
            "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
            ErrorKind::TooDeep,
        ),
        (
            "{% set ns = namespace(x=[]) %}{% for i in range(20) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x|tojson }}",
            ErrorKind::TooDeep,
        ),
        ("{{ [1]|tojson(indent=100000000) }}", ErrorKind::Value),
        ("{{ 'a'|indent(100000000) }}", ErrorKind::Value),
        ("{{ '%1000000000d' % 1 }}", ErrorKind::Value),
        ("{{ '%1000000000d'|format(1) }}", ErrorKind::TooManySteps),
        ("{{ '{:1000000000}'.format(1) }}", ErrorKind::Value),
        ("{{ [1] * 100000000 }}", ErrorKind::TooManySteps),
        ("{{ ([1] * 100000000)|string }}", ErrorKind::TooManySteps),
        (
            "{% macro m() %}{% endmacro %}{% set x = m %}",
            ErrorKind::Value,
        ),
        ("{{ x.y.z }}", ErrorKind::Value),
        ("{{ 'a' + 1 }}", ErrorKind::Value),
        ("{% if %}", ErrorKind::Syntax),
        ("{{ x|nosuch }}", ErrorKind::Syntax),
        ("{% include 'x' %}", ErrorKind::Syntax),
    ] {
        let got = render_within(template, &Context::default(), &SMALL);
        let error = got.expect_err(template);
        assert_eq!(error.kind(), expected, "{template}: {error}");
    }
    let long: String = "a".repeat(1001);
    assert_eq!(
        kind(&long, &Context::default()),
        Some(ErrorKind::SourceTooLong)
    );
}

#[test]
fn deeply_nested_values_neither_go_in_nor_break_the_stack() {
    let mut nested = json!([]);
    (0..20).for_each(|_| nested = json!([nested.take()]));
    assert_eq!(kind("{{ x }}", &with_x(nested)), Some(ErrorKind::TooDeep));
    for template in [
        "{% set ns = namespace(x=[]) %}{% for i in range(1000000) %}{% set ns.x = [ns.x] %}{% endfor %}",
        "{% set ns = namespace(x={}) %}{% for i in range(1000000) %}{% set ns.x = {'a': ns.x} %}{% endfor %}",
        "{% set ns = namespace(x=[]) %}{% for i in range(10000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x='') %}{% for i in range(1000000) %}{% set ns.x = ns.x ~ 'a' %}{% endfor %}{{ ns.x|length }}",
        "{% set ns = namespace(x=[]) %}{% for i in range(1000000) %}{% set ns.x = ns.x + [1] %}{% endfor %}{{ ns.x|length }}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(100000) %}{% set ns.x = ns.x[0:] %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(100000) %}{% set ns.x = ns.x * 1 %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x={'a': [1]}) %}{% for i in range(100000) %}{% set ns.x = {'a': ns.x.a[0:]} %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x=1) %}{% for i in range(100000) %}{% set ns.x = namespace(x=ns.x) %}{% endfor %}",
        "{% set ns = namespace(x=[[1]]) %}{% for i in range(100000) %}{% set ns.x = (ns.x[0][0:],) %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x=1) %}{% set ns.x = ns %}{{ ns }}",
        "{% set ns = namespace(x=1) %}{% set ns.x = ns %}{{ ns|tojson }}",
        "{% set ns = namespace(x=1) %}{% set ns.x = ns %}{{ ns == ns }}{{ ns|string }}{{ 'a' ~ ns }}{{ [ns]|join }}",
        "{% macro m(x, n) %}{% if n %}{{ m([[[[[[[[[[[[[[[[[[[[x]]]]]]]]]]]]]]]]]]]], n - 1) }}{% else %}{{ x }}{{ 'a' ~ x }}{% endif %}{% endmacro %}{% for n in range(30) %}{{ m(1, n) }}{% endfor %}",
    ] {
        drop(render(template, &Context::default()));
    }
    let parens = format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000));
    assert!(render(&parens, &Context::default()).is_err());
}

#[test]
fn json_prints_as_python_does() {
    let context = with_x(json!({"b": [1, 2.0, null, true], "a": "<é\u{1}\"\n>", "c": {}, "d": []}));
    for (template, expected) in [
        (
            "{{ x|tojson }}",
            r#"{"b": [1, 2.0, null, true], "a": "<é\u0001\"\n>", "c": {}, "d": []}"#,
        ),
        (
            "{{ x|tojson(separators=(',', ':')) }}",
            r#"{"b":[1,2.0,null,true],"a":"<é\u0001\"\n>","c":{},"d":[]}"#,
        ),
        (
            "{{ x.b|tojson(indent=2) }}",
            "[\n  1,\n  2.0,\n  null,\n  true\n]",
        ),
        (
            "{{ x|tojson(sort_keys=true, ensure_ascii=true) }}",
            r#"{"a": "<\u00e9\u0001\"\n>", "b": [1, 2.0, null, true], "c": {}, "d": []}"#,
        ),
        ("{{ '😀'|tojson(ensure_ascii=true) }}", r#""\ud83d\ude00""#),
        ("{{ {1: 2, true: none} | tojson }}", r#"{"1": null}"#),
    ] {
        let got = render(template, &context);
        assert_eq!(got.as_deref(), Ok(expected), "{template}");
    }
    assert_eq!(
        kind("{{ nothing|tojson }}", &context),
        Some(ErrorKind::Value)
    );
}

#[test]
fn python_methods_and_dates_are_there() {
    let mut context = with_x(json!({"role": "user", "items": [1]}));
    context.now = DateTime {
        year: 2024,
        month: 7,
        day: 26,
        ..DateTime::EPOCH
    };
    for (template, expected) in [
        (
            "{{ ' a '.strip() ~ 'xay'.strip('xy') ~ 'abc'.removeprefix('a') }}",
            "aabc",
        ),
        ("{{ 'a,b'.split(',')[-1] }}{{ 'a b'.split()|length }}", "b2"),
        (
            "{% for k, v in x.items() %}{{ k }}={{ v }};{% endfor %}",
            "role=user;items=[1];",
        ),
        (
            "{{ x.get('no', 'd') }}{{ x.get('role') }}{{ x.get('no') }}",
            "duserNone",
        ),
        (
            "{{ 'abc'.startswith('a') }}{{ 'abc'.endswith(('b', 'c')) }}",
            "TrueTrue",
        ),
        ("{{ strftime_now('%d %b %Y') }}", "26 Jul 2024"),
        (
            "{% set ns = namespace(a=1) %}{% set x = ns %}{% set x.a = (1, 2) %}{{ ns.a }}",
            "(1, 2)",
        ),
        (
            "{% for a in [1, 2] %}{% set o = loop %}{% for b in [1] %}{{ o.index }}{{ o.last }}{% endfor %}{% endfor %}",
            "1False2True",
        ),
        ("{{ '%s is %d'|format('a', 3) }}", "a is 3"),
        ("{%- generation %}\nx{%- endgeneration %}", "x"),
        ("  {% if true %}\n  y\n  {% endif %}\nz\n", "  y\nz"),
        (
            "{% for i in range(9) %}{% if i == 2 %}{% continue %}{% elif i > 3 %}{% break %}{% endif %}{{ i }}{% endfor %}",
            "013",
        ),
    ] {
        let got = render(template, &context);
        assert_eq!(got.as_deref(), Ok(expected), "{template}");
    }
}
