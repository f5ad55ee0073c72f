//! The server's error numbers, and what each means for a batch.

/// What an error means for a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Row,
    Schema,
    Auth,
    Disk,
    Memory,
    TooManyParts,
    Unavailable,
    /// Not listed, or it may come before as well as after the rows were stored.
    Unclear,
}

/// Every number that has a meaning here, with the server's name for it.
///
/// What is not listed is tried again and never costs a row. `Row` is for what a value in a row can cause and nothing
/// else: a violated constraint, and what expressions of columns that an operator added say of a value.
pub(crate) const CODES: [(u32, &str, Class); 55] = [
    (469, "VIOLATED_CONSTRAINT", Class::Row),
    (6, "CANNOT_PARSE_TEXT", Class::Row),
    (27, "CANNOT_PARSE_INPUT_ASSERTION_FAILED", Class::Row),
    (38, "CANNOT_PARSE_DATE", Class::Row),
    (41, "CANNOT_PARSE_DATETIME", Class::Row),
    (69, "ARGUMENT_OUT_OF_BOUND", Class::Row),
    (72, "CANNOT_PARSE_NUMBER", Class::Row),
    (153, "ILLEGAL_DIVISION", Class::Row),
    (321, "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE", Class::Row),
    (376, "CANNOT_PARSE_UUID", Class::Row),
    (395, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO", Class::Row),
    (407, "DECIMAL_OVERFLOW", Class::Row),
    (8, "THERE_IS_NO_COLUMN", Class::Schema),
    (10, "NOT_FOUND_COLUMN_IN_BLOCK", Class::Schema),
    (16, "NO_SUCH_COLUMN_IN_TABLE", Class::Schema),
    (36, "BAD_ARGUMENTS", Class::Schema),
    (44, "ILLEGAL_COLUMN", Class::Schema),
    (47, "UNKNOWN_IDENTIFIER", Class::Schema),
    (48, "NOT_IMPLEMENTED", Class::Schema),
    (50, "UNKNOWN_TYPE", Class::Schema),
    (53, "TYPE_MISMATCH", Class::Schema),
    (57, "TABLE_ALREADY_EXISTS", Class::Schema),
    (60, "UNKNOWN_TABLE", Class::Schema),
    (62, "SYNTAX_ERROR", Class::Schema),
    (73, "UNKNOWN_FORMAT", Class::Schema),
    (81, "UNKNOWN_DATABASE", Class::Schema),
    (115, "UNKNOWN_SETTING", Class::Schema),
    (117, "INCORRECT_DATA", Class::Schema),
    (701, "CLUSTER_DOESNT_EXIST", Class::Schema),
    (164, "READONLY", Class::Auth),
    (192, "UNKNOWN_USER", Class::Auth),
    (193, "WRONG_PASSWORD", Class::Auth),
    (194, "REQUIRED_PASSWORD", Class::Auth),
    (195, "IP_ADDRESS_NOT_ALLOWED", Class::Auth),
    (291, "DATABASE_ACCESS_DENIED", Class::Auth),
    (452, "SETTING_CONSTRAINT_VIOLATION", Class::Auth),
    (497, "ACCESS_DENIED", Class::Auth),
    (516, "AUTHENTICATION_FAILED", Class::Auth),
    (74, "CANNOT_READ_FROM_FILE_DESCRIPTOR", Class::Disk),
    (75, "CANNOT_WRITE_TO_FILE_DESCRIPTOR", Class::Disk),
    (76, "CANNOT_OPEN_FILE", Class::Disk),
    (243, "NOT_ENOUGH_SPACE", Class::Disk),
    (241, "MEMORY_LIMIT_EXCEEDED", Class::Memory),
    (252, "TOO_MANY_PARTS", Class::TooManyParts),
    (201, "QUOTA_EXCEEDED", Class::Unavailable),
    (202, "TOO_MANY_SIMULTANEOUS_QUERIES", Class::Unavailable),
    (203, "NO_FREE_CONNECTION", Class::Unavailable),
    (242, "TABLE_IS_READ_ONLY", Class::Unavailable),
    (159, "TIMEOUT_EXCEEDED", Class::Unclear),
    (209, "SOCKET_TIMEOUT", Class::Unclear),
    (210, "NETWORK_ERROR", Class::Unclear),
    (236, "ABORTED", Class::Unclear),
    (319, "UNKNOWN_STATUS_OF_INSERT", Class::Unclear),
    (394, "QUERY_WAS_CANCELLED", Class::Unclear),
    (999, "KEEPER_EXCEPTION", Class::Unclear),
];

/// What an error with that number and text means.
pub(crate) fn class(code: u32, text: &str) -> Class {
    // The number for too many parts is also that of one batch over too many partitions, which only another
    // partitioning than ours can cause, and waiting does not help.
    if code == 252 && text.contains("Too many partitions for single INSERT block") {
        return Class::Schema;
    }
    CODES.iter().find(|known| known.0 == code).map_or(Class::Unclear, |known| known.2)
}

/// The number in `Code: 469. DB::Exception: …`; only at the very start, for what comes later may be a row's value.
pub(crate) fn code(text: &str) -> Option<u32> {
    let rest = text.trim_start().strip_prefix("Code: ")?;
    let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
    let (number, rest) = rest.split_at(digits);
    if rest.is_empty() || rest.starts_with('.') { number.parse().ok() } else { None }
}

/// Where the server begins to quote values of a row.
const VALUES: &str = " Column values: ";

/// The first column that the server names with a row's value.
pub(crate) fn column(text: &str) -> Option<String> {
    let (_, rest) = text.split_once(VALUES)?;
    rest.split_once(" = ").map(|(name, _)| name.to_owned())
}

/// The text up to where values of a row are quoted: they are a client's data.
pub(crate) fn without_values(text: &str) -> &str {
    let quote = || code(text).filter(|code| quotes_values(*code, text)).and_then(|_| text.find(['\'', '"']));
    text.find(VALUES).or_else(quote).and_then(|at| text.get(..at)).unwrap_or(text).trim_end()
}

/// Whether an error's text has the value that could not be read, in quotes.
fn quotes_values(code: u32, text: &str) -> bool {
    match class(code, text) {
        Class::Row => true,
        _ => code == 117 && !text.contains("(while reading header)"),
    }
}
