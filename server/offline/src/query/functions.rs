//! The functions queries may call. What is not named here is refused, so that a function a later DataFusion adds (one that
//! reads a file, say) is refused too until someone has looked at it.

use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::Expr;
use datafusion::scalar::ScalarValue;

/// Longest text or list that one call may be told to make.
const LONGEST: i64 = 10_000;

/// Longest series that one call may make.
const LONGEST_SERIES: i64 = 1_000_000;

/// Functions of ours.
const OWN: &[&str] = &crate::expressions::NAMES;

/// Functions of one row.
#[rustfmt::skip]
const SCALAR: &[&str] = &[
    "abs", "acos", "acosh", "arrow_cast", "arrow_try_cast", "arrow_typeof", "ascii", "asin", "asinh", "atan", "atan2", "atanh",
    "bit_length", "btrim", "cbrt", "ceil", "character_length", "chr", "coalesce", "concat", "concat_ws", "contains", "cos", "cosh",
    "cot", "current_date", "current_time", "date_bin", "date_part", "date_trunc", "degrees", "ends_with", "exp", "factorial",
    "find_in_set", "floor", "from_unixtime", "gcd", "get_field", "greatest", "initcap", "isnan", "iszero", "lcm", "least", "left",
    "levenshtein", "ln", "log", "log10", "log2", "lower", "lpad", "ltrim", "make_date", "make_time", "named_struct", "nanvl", "now",
    "nullif", "nvl", "nvl2", "octet_length", "overlay", "pi", "power", "radians", "random", "regexp_count", "regexp_instr",
    "regexp_like", "regexp_match", "regexp_replace", "repeat", "replace", "reverse", "right", "round", "rpad", "rtrim", "signum",
    "sin", "sinh", "split_part", "sqrt", "starts_with", "strpos", "struct", "substr", "substr_index", "tan", "tanh", "to_char",
    "to_date", "to_hex", "to_local_time", "to_time", "to_timestamp", "to_timestamp_micros", "to_timestamp_millis",
    "to_timestamp_nanos", "to_timestamp_seconds", "to_unixtime", "translate", "trunc", "union_extract", "union_tag", "upper",
    "uuid", "version",
    "array_any_value", "array_append", "array_compact", "array_concat", "array_dims", "array_distance", "array_distinct",
    "array_element", "array_except", "array_has", "array_has_all", "array_has_any", "array_intersect", "array_length", "array_max",
    "array_min", "array_ndims", "array_pop_back", "array_pop_front", "array_position", "array_positions", "array_prepend",
    "array_remove", "array_remove_all", "array_remove_n", "array_repeat", "array_replace", "array_replace_all", "array_replace_n",
    "array_resize", "array_reverse", "array_slice", "array_sort", "array_sum", "array_avg", "array_product", "array_to_string",
    "array_union", "arrays_zip", "cardinality", "cosine_distance", "empty", "flatten", "generate_series", "inner_product",
    "make_array", "map", "map_entries", "map_extract", "map_keys", "map_values", "range", "string_to_array",
];

/// Functions of many rows, also over windows.
#[rustfmt::skip]
const AGGREGATE: &[&str] = &[
    "any_value", "approx_distinct", "approx_median", "approx_percentile_cont", "approx_percentile_cont_with_weight", "array_agg",
    "avg", "bit_and", "bit_or", "bit_xor", "bool_and", "bool_or", "corr", "count", "covar_pop", "covar_samp", "first_value",
    "grouping", "last_value", "max", "median", "min", "nth_value", "percentile_cont", "regr_avgx", "regr_avgy", "regr_count",
    "regr_intercept", "regr_r2", "regr_slope", "regr_sxx", "regr_sxy", "regr_syy", "stddev", "stddev_pop", "string_agg", "sum",
    "var", "var_pop",
];

/// Functions of a window only.
const WINDOW: &[&str] = &["cume_dist", "dense_rank", "lag", "lead", "ntile", "percent_rank", "rank", "row_number"];

/// Functions whose result is as long as an argument says, and which argument.
const SIZED: &[(&str, usize)] = &[("repeat", 1), ("lpad", 1), ("rpad", 1), ("array_repeat", 1), ("array_resize", 1)];

/// Series from a first to a last value.
const SERIES: &[&str] = &["range", "generate_series"];

/// What is not allowed about an expression, ignoring its parts.
pub(crate) fn refusal(expr: &Expr) -> Option<String> {
    let refused = |kind: &str, name: &str| Some(format!("the {kind}function `{name}`"));
    match expr {
        Expr::ScalarFunction(call) if !SCALAR.contains(&call.name()) && !OWN.contains(&call.name()) => {
            refused("", call.name())
        }
        Expr::ScalarFunction(call) if multiplies(call.name()) && call.args.iter().any(holds_sized) => {
            Some(format!("`{}` of what another function made long", call.name()))
        }
        Expr::ScalarFunction(call) => too_long(call.name(), &call.args),
        Expr::AggregateFunction(call) if !AGGREGATE.contains(&call.func.name()) => {
            refused("aggregate ", call.func.name())
        }
        Expr::WindowFunction(call) => {
            let name = call.fun.name();
            let known = WINDOW.contains(&name) || AGGREGATE.contains(&name);
            if known { None } else { refused("window ", name) }
        }
        Expr::HigherOrderFunction(call) => refused("", call.func.name()),
        _ => None,
    }
}

/// Functions whose result may be a multiple of an argument's length.
fn multiplies(name: &str) -> bool {
    is_sized(name) || matches!(name, "replace" | "regexp_replace" | "translate" | "overlay")
}

fn is_sized(name: &str) -> bool {
    SIZED.iter().any(|(sized, _)| *sized == name) || SERIES.contains(&name)
}

/// Whether a call of a sized function is somewhere within; lengths multiply where they nest.
fn holds_sized(expr: &Expr) -> bool {
    let sized = |part: &Expr| Ok(matches!(part, Expr::ScalarFunction(call) if is_sized(call.name())));
    expr.exists(sized).unwrap_or(true)
}

fn too_long(name: &str, args: &[Expr]) -> Option<String> {
    if let Some((_, at)) = SIZED.iter().find(|(sized, _)| *sized == name) {
        let fits = args.get(*at).and_then(integer).is_some_and(|length| length <= LONGEST);
        return (!fits).then(|| format!("`{name}` with a length that is not a number up to {LONGEST}"));
    }
    if !SERIES.contains(&name) {
        return None;
    }
    let numbers: Option<Vec<i64>> = args.iter().map(integer).collect();
    let fits = match numbers.as_deref() {
        Some([last]) => last.unsigned_abs() <= LONGEST_SERIES.unsigned_abs(),
        Some([first, last, ..]) => first.abs_diff(*last) <= LONGEST_SERIES.unsigned_abs(),
        _ => false,
    };
    (!fits).then(|| format!("`{name}` but with numbers at most {LONGEST_SERIES} apart"))
}

fn integer(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(ScalarValue::Int64(value), _) => *value,
        Expr::Literal(ScalarValue::Int32(value), _) => value.map(i64::from),
        Expr::Literal(ScalarValue::UInt64(Some(value)), _) => i64::try_from(*value).ok(),
        Expr::Negative(inner) => integer(inner).map(i64::saturating_neg),
        _ => None,
    }
}
