"""The functions that expressions may call. Each gives the same result for the same arguments, anywhere and at any time.

All others are refused. Of DuckDB's scalar functions these are left out on purpose:

- those that read the clock, a setting, the catalogue or the environment, and random ones;
- those whose result has no bound (``range``, ``repeat``, ``list_reduce``); of all others ``growth_rules`` has one;
- ``hash``, whose result differs between versions of DuckDB (``md5_number_lower`` is the same in all of them);
- collations, structs, maps, unions and variants, which no feature can hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


OPERATORS: Final = _words(
    """
    + - * / // % ** ^ @ & | ~ << >> || ^@ && @> <@ ->> ~~ !~~ ~~* !~~* ~~~ like_escape not_like_escape ilike_escape
    not_ilike_escape
    """
)

_MATH: Final = """
    abs acos acosh add asin asinh atan atan2 atanh bit_count cbrt ceil ceiling cos cosh cot degrees divide even exp
    factorial fdiv floor fmod gamma gcd greatest greatest_common_divisor isfinite isinf isnan lcm least
    least_common_multiple lgamma ln log log10 log2 mod multiply nextafter pi pow power radians round round_even
    roundbankers sign signbit sin sinh sqrt subtract tan tanh trunc xor
"""
_CHOICE: Final = "coalesce if ifnull nullif"
_TEXT: Final = """
    array_extract ascii base64 bin bit_length char_length character_length chr concat concat_ws contains
    damerau_levenshtein decode editdist3 encode ends_with format from_base64 from_hex hamming hex instr jaccard
    jaro_similarity jaro_winkler_similarity lcase left left_grapheme len length length_grapheme levenshtein lower lpad
    ltrim mismatches nfc_normalize octet_length ord overlay position prefix printf regexp_escape regexp_extract
    regexp_extract_all regexp_full_match regexp_matches regexp_replace regexp_split_to_array replace reverse right
    right_grapheme rpad rtrim split split_part starts_with str_split str_split_regex string_split string_split_regex
    string_to_array strip_accents strlen strpos substr substring substring_grapheme suffix to_base64 to_binary
    to_hex translate trim ucase unbin unhex unicode upper url_decode url_encode
"""
_DIGESTS: Final = "md5 md5_number md5_number_lower md5_number_upper sha1 sha256"
_JSON: Final = """
    json_array_length json_contains json_exists json_extract_path_text json_extract_string json_type json_valid
"""
_TIME: Final = """
    age century date_add date_diff date_part date_sub date_trunc datediff datepart datesub datetrunc day dayname
    dayofmonth dayofweek dayofyear days_in_month decade epoch epoch_ms epoch_ns epoch_us era hour isodow isoyear julian
    last_day make_date make_time make_timestamp make_timestamp_ms microsecond millennium millisecond minute month
    monthname nanosecond quarter second strftime strptime time_bucket timezone to_centuries to_days to_decades to_hours
    to_microseconds to_millennia to_milliseconds to_minutes to_months to_quarters to_seconds to_timestamp to_weeks
    to_years try_strptime week weekday weekofyear year yearweek
"""
_LISTS: Final = """
    array_append array_cat array_concat array_contains array_cosine_distance array_cosine_similarity
    array_cross_product array_distance array_distinct array_dot_product array_has array_has_all array_has_any
    array_indexof array_inner_product array_intersect array_length array_negative_dot_product
    array_negative_inner_product array_pop_back array_pop_front array_position array_prepend array_push_back
    array_push_front array_reverse array_reverse_sort array_slice array_sort array_to_string array_unique array_value
    apply array_apply array_filter array_transform filter flatten list_any_value list_append list_apply list_avg
    list_bool_and list_bool_or list_cat list_concat list_contains list_cosine_distance list_cosine_similarity
    list_count list_distance list_distinct list_dot_product list_element list_extract list_filter list_first list_has
    list_has_all list_has_any list_indexof list_inner_product list_intersect list_last list_max list_median list_min
    list_negative_dot_product list_negative_inner_product list_position list_prepend list_product
    list_reverse list_reverse_sort list_slice list_sort list_stddev_pop list_stddev_samp list_sum list_transform
    list_unique list_value list_var_pop list_var_samp list_where
"""

FUNCTIONS: Final = _words(" ".join((_MATH, _CHOICE, _TEXT, _DIGESTS, _JSON, _TIME, _LISTS)))

# With fewer arguments than these they read the clock.
LEAST_ARGUMENTS: Final[Mapping[str, int]] = {"age": 2}

# Types that a cast may name, as the parser spells them, in lower case.
TYPES: Final = _words(
    """
    bool boolean logical tinyint int1 smallint int2 int16 short integer int int4 int32 signed bigint int8 int64 long
    hugeint utinyint usmallint uinteger ubigint uhugeint uint8 uint16 uint32 uint64 float float4 real double float8
    decimal numeric dec varchar char bpchar text string blob bytea binary varbinary date time timestamp datetime
    timestamp_s timestamp_ms timestamp_us timestamp_ns timestamptz interval list array
    """
) | {"timestamp with time zone"}

# Why these are refused. Others are refused because nobody has checked that they are pure.
_REASONS: Final = {
    "it reads the clock; send the moment in a request field, or use a timestamp feature": """
        now today get_current_time get_current_timestamp transaction_timestamp current_date current_time
        current_timestamp current_localtime current_localtimestamp localtime localtimestamp ago
    """,
    "its value changes with every call": """
        random uuid uuidv4 uuidv7 gen_random_uuid setseed nextval currval txid_current
    """,
    "it reads where it runs, which training and serving do not share": """
        getenv current_setting getvariable current_user user session_user current_role current_catalog
        current_database current_schema current_schemas version current_query
    """,
    "it goes over many rows, and an expression sees one; use `aggregate` for windows": """
        sum avg mean count count_star min max stddev stddev_samp stddev_pop var_samp var_pop variance median mode first
        last any_value arg_min arg_max quantile quantile_cont approx_count_distinct string_agg list array_agg bool_and
        bool_or product
    """,
    "it makes rows, and an expression gives one value": """
        unnest generate_series generate_subscripts regexp_split_to_table
    """,
    "it makes values of any size": """
        range repeat bar to_base list_resize array_resize list_reduce array_reduce reduce list_aggregate list_aggr
        array_aggregate aggregate unpivot_list
    """,
    "it reads files or tables, and an expression sees the names of one row": """
        read_csv read_csv_auto read_parquet read_json read_text read_blob glob parquet_scan sniff_csv query query_table
    """,
}
WHY_NOT: Final[Mapping[str, str]] = {
    **{word: why for why, words in _REASONS.items() for word in words.split()},
    "hash": "its result changes with the version of DuckDB; use md5_number_lower(a || ':' || b)",
    "age": "with one argument it reads the clock; name both moments",
}
