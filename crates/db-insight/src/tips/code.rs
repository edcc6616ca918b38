//! The names of findings, and how grave they are.

use std::fmt;

use serde::{Serialize, Serializer};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know; it costs little here, or nothing was measured.
    Info,
    /// It costs at least a tenth of the query and 5 ms.
    Warning,
    /// It costs at least half of a query and a second.
    Critical,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        })
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// What a finding is. Its text, such as `disk_sort`, is stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum TipCode {
            $($(#[$doc])* $variant,)+
        }

        impl TipCode {
            /// All of them.
            pub const ALL: &[TipCode] = &[$(TipCode::$variant),+];

            /// Its text, such as `disk_sort`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(TipCode::$variant => $name,)+
                }
            }
        }
    };
}

codes! {
    /// A table is read as a whole, and a filter drops nearly all of it.
    SeqScanFilterRemovesMost = "seq_scan_filter_removes_most",
    /// The planner expected ten times fewer or more rows, below a join.
    RowMisestimate = "row_misestimate",
    /// The statistics are older than the rows.
    StaleStatistics = "stale_statistics",
    /// A sort did not fit into memory.
    DiskSort = "disk_sort",
    /// A hash join's table did not fit into memory.
    HashBatchesSpill = "hash_batches_spill",
    /// A hashed aggregate did not fit into memory.
    HashaggSpill = "hashagg_spill",
    /// A nested loop runs its inner side too often.
    NestedLoopExplosion = "nested_loop_explosion",
    /// A bitmap did not fit into memory, so whole pages are checked again.
    LossyBitmap = "lossy_bitmap",
    /// Compiling expressions takes much of the query.
    JitOverhead = "jit_overhead",
    /// A foreign key without an index makes changes of the parent read all children.
    MissingFkIndex = "missing_fk_index",
    /// Rows are made only to be skipped by OFFSET.
    OffsetPagination = "offset_pagination",
    /// A function or cast around a column keeps an index from being used.
    FunctionOnIndexedColumn = "function_on_indexed_column",
    /// A subquery runs for each row.
    CorrelatedSubquery = "correlated_subquery",
    /// NOT IN is looked up by reading a list for each row.
    NotInSubplan = "not_in_subplan",
    /// A column is converted to the type of what it is compared with.
    ImplicitCast = "implicit_cast",
    /// An index-only scan reads the table after all.
    IndexOnlyHeapFetches = "index_only_heap_fetches",
    /// Fewer workers started than planned.
    WorkersNotLaunched = "workers_not_launched",
    /// An index finds rows that a filter then drops.
    IndexFilterRemovesMost = "index_filter_removes_most",
    /// A CTE is made whole and little of it is used.
    MaterializedCte = "materialized_cte",
    /// The planner hoped that a LIMIT would end early, and it did not.
    LimitAbortEarly = "limit_abort_early",
    /// A pattern that begins with a wildcard, or ignores case, or is not anchored.
    LeadingWildcard = "leading_wildcard",
    /// Most of the time goes into reading from disk.
    IoBound = "io_bound",
    /// Partitions are read in vain.
    PartitionsNotPruned = "partitions_not_pruned",
    /// A trigger takes much of the statement.
    SlowTrigger = "slow_trigger",
    /// Planning takes longer than running.
    PlanningTime = "planning_time",
    /// A prefix is searched, and the index's collation does not allow it.
    PrefixPatternWithoutIndex = "prefix_pattern_without_index",
    /// A field of a JSON document is compared row by row.
    JsonFieldWithoutIndex = "json_field_without_index",
    /// An index finds rows that do not match when they are looked at.
    RecheckRemovesMost = "recheck_removes_most",
    /// Intermediate rows are written to disk.
    TuplestoreOnDisk = "tuplestore_on_disk",
    /// A cache of inner rows finds little.
    MemoizeMisses = "memoize_misses",
    /// All rows are sorted to return the first few.
    SortForFew = "sort_for_few",
    /// A query returns rows without a bound.
    UnboundedResult = "unbounded_result",
    /// A query asks for all columns.
    SelectStar = "select_star",
}

impl fmt::Display for TipCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for TipCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
