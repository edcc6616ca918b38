//! Chooses for each statement the fewest and smallest indexes that save enough, and merges them across the
//! workload.

mod existing;
mod record;
mod weigh;

use std::collections::{BTreeSet, HashMap};

use super::candidate::{Subject, order_keys};
use super::catalog::{Catalog, Table};
use super::condition::{Classifier, Use};
use super::evaluate::{Evaluator, plain};
use super::expression::{Column, Expr};
use super::plan::{Order, Reading, Scan, SortKey};
use super::proof::Prover;
use super::session::Session;
use super::spec::Spec;
use super::workload::Query;
use super::{Advice, AdviceConfig, AdviceError, Note};

pub(crate) use weigh::share_of;
use weigh::{literals, not_proven, smallest_of_best};

/// How many candidates of a scan are proven, and how many are built: each takes a pass over the table.
const MOST_PROVEN: usize = 8;
const MOST_BUILT: usize = 4;

/// How many indexes one statement gets.
const MOST_INDEXES: usize = 4;

/// What another index must save of a scan that has one, in the planner's units.
const LEAST_OVER_AN_INDEX: f64 = 100.0;

/// What one entry more costs a write, in the planner's units: a page, now and then, and the descent.
const WRITE_COST: f64 = 1.0;

pub(crate) struct Selector<'a> {
    catalog: &'a Catalog,
    config: &'a AdviceConfig,
    pub(super) read: Vec<(Query, Reading)>,
    popular: HashMap<String, usize>,
    by_parameter: BTreeSet<String>,
    /// Whether an expression can be a key at all, by table and key.
    keys: HashMap<(i64, String), bool>,
    /// Writes a day by table, from the workload.
    writes: HashMap<i64, f64>,
}

/// A set of indexes for a statement, and what it saves.
#[derive(Debug, Clone)]
pub(crate) struct Choice {
    pub(crate) specs: Vec<Spec>,
    pub(crate) saved: f64,
    pub(crate) size: f64,
}

/// What was chosen for one statement.
struct Chosen {
    case: usize,
    spec: Spec,
    cost: [f64; 2],
    proof: &'static str,
    bytes: f64,
    notes: Vec<String>,
}

impl<'a> Selector<'a> {
    pub(crate) fn new(catalog: &'a Catalog, config: &'a AdviceConfig) -> Self {
        Selector {
            catalog,
            config,
            read: Vec::new(),
            popular: HashMap::new(),
            by_parameter: BTreeSet::new(),
            keys: HashMap::new(),
            writes: HashMap::new(),
        }
    }

    /// Takes a statement in, with its plan.
    pub(crate) async fn read(&mut self, session: &mut Session<'_>, query: &Query, notes: &mut Vec<Note>) {
        let planned = match session.prepare(query).await {
            Ok(prepared) => session.plan(&prepared).await,
            Err(reason) => Err(reason),
        };
        match planned {
            Ok(reading) => {
                self.count(query, &reading);
                self.read.push((query.clone(), reading));
            }
            Err(reason) => notes.push(Note {
                case: query.id.clone(),
                code: "not_planned",
                message: format!("the server does not plan it: {reason}"),
            }),
        }
    }

    fn count(&mut self, query: &Query, reading: &Reading) {
        for (schema, name, operation) in &reading.writes {
            if operation != "Delete"
                && let Some(table) = self.catalog.table(schema, name)
            {
                let whole = self.catalog.whole(table).oid;
                *self.writes.entry(whole).or_default() += query.calls_per_day.unwrap_or(0.0);
            }
        }
        for scan in &reading.scans {
            let Some(table) = self.catalog.table(&scan.schema, &scan.table) else { continue };
            let classifier = Classifier { catalog: self.catalog, table, alias: &scan.alias };
            for expr in &scan.conditions {
                let condition = classifier.condition(expr);
                // A value that was given as a parameter looks like a constant in the plan.
                let constants = expr.constants();
                let given = |constant: &String| {
                    let spelt = constant.split("::").next().unwrap_or(constant);
                    query.params.iter().any(|param| param.split("::").next().unwrap_or(param).trim() == spelt)
                };
                let by_parameter = expr.has_parameter() || constants.iter().any(given);
                for one in condition.uses {
                    if let Use::Equal { key, .. } = one {
                        if by_parameter {
                            self.by_parameter.insert(key.sql.clone());
                        }
                        *self.popular.entry(key.sql).or_default() += 1;
                    }
                }
            }
        }
    }

    /// Chooses, proves and writes down.
    pub(crate) async fn choose(
        &mut self,
        session: &mut Session<'_>,
        prover: &mut Prover,
        advice: &mut Advice,
    ) -> Result<(), AdviceError> {
        let mut chosen: Vec<Chosen> = Vec::new();
        for case in 0..self.read.len() {
            let Some((query, reading)) = self.read.get(case).cloned() else { continue };
            let choices = self.of_statement(session, &query, &reading, &mut advice.notes).await?;
            chosen.extend(self.best(session, prover, case, choices, &mut advice.notes).await);
            chosen.extend(self.of_deletes(case, &reading));
        }
        let chosen = self.merged(session, prover, chosen).await?;
        self.write_down(chosen, advice);
        Ok(())
    }

    /// Every candidate of a statement that the model expects to save something.
    async fn of_statement(
        &mut self,
        session: &mut Session<'_>,
        query: &Query,
        reading: &Reading,
        notes: &mut Vec<Note>,
    ) -> Result<Vec<Vec<Choice>>, AdviceError> {
        let mut all = Vec::new();
        let mut keys = std::mem::take(&mut self.keys);
        let scans: Vec<Scan> = reading.scans.iter().map(|scan| self.with_order(scan)).collect();
        for scan in &scans {
            let Some(table) = self.catalog.table(&scan.schema, &scan.table) else { continue };
            if let Some(note) = self.not_known(query, table) {
                if !notes.contains(&note) {
                    notes.push(note);
                }
                continue;
            }
            let whole = self.catalog.whole(table);
            if whole.rows < self.config.fewest_rows || !matches!(table.kind.as_str(), "r" | "m" | "p") {
                continue;
            }
            let mut subject = self.subject(query, scan, table);
            let mut evaluator = Evaluator { session };
            subject.shares = evaluator.shares(&subject).await;
            let mut choices: Vec<Choice> = Vec::new();
            for specs in subject.candidates() {
                if !evaluator.can_be_keys(&specs, whole, &mut keys).await {
                    continue;
                }
                if self.exists(&specs, whole, &subject, query, notes) {
                    continue;
                }
                let saved = evaluator.saved(&subject, &specs).await?;
                // Where an index finds the rows already, another one has to do much better.
                let least = if scan.indexed { LEAST_OVER_AN_INDEX } else { 0.0 };
                if saved > least {
                    let size =
                        specs.iter().map(|spec| spec.entry_bytes(table) * share_of(&subject, spec)).sum();
                    choices.push(Choice { specs, saved: saved.min(reading.cost), size });
                }
            }
            evaluator.with_includes(&subject, whole, &mut choices).await?;
            if !choices.is_empty() {
                all.push(choices);
            }
        }
        self.keys = keys;
        Ok(all)
    }

    fn subject<'b>(&'b self, query: &Query, scan: &'b Scan, table: &'b Table) -> Subject<'b> {
        let classifier = Classifier { catalog: self.catalog, table, alias: &scan.alias };
        let mut seen = BTreeSet::new();
        let conditions: Vec<_> = scan
            .conditions
            .iter()
            .filter(|expr| seen.insert(plain(expr)))
            .map(|expr| classifier.condition(expr))
            .collect();
        let joined = scan
            .joins
            .iter()
            .map(|join| {
                let all = join.conditions.iter().map(|expr| classifier.condition(expr));
                all.filter(|condition| !condition.uses.is_empty() && condition.depends).collect()
            })
            .collect();
        let (order, order_complete) = match &scan.order {
            Some(order) => order_keys(&classifier, &order.keys, &conditions),
            None => (Vec::new(), false),
        };
        Subject {
            scan,
            classifier,
            conditions,
            joined,
            shares: Vec::new(),
            order,
            order_complete,
            literals: literals(query),
            popular: &self.popular,
            by_parameter: &self.by_parameter,
        }
    }

    /// A limit over an index's order: the order is that of the index.
    fn with_order(&self, scan: &Scan) -> Scan {
        let mut scan = scan.clone();
        let unnamed = scan.order.as_ref().is_some_and(|order| order.keys.is_empty());
        if !unnamed {
            return scan;
        }
        let keys = scan.index.as_ref().and_then(|(name, backward)| {
            let table = self.catalog.table(&scan.schema, &scan.table)?;
            let index = table.indexes.iter().find(|index| index.name == *name && index.method == "btree")?;
            let keys = index.keys.iter().take(2).map(|key| SortKey {
                expr: Expr::Column(Column {
                    alias: scan.alias.clone(),
                    name: key.text.trim_matches('"').to_owned(),
                }),
                desc: (key.options & 1 == 1) != *backward,
                nulls_first: (key.options & 2 == 2) != *backward,
            });
            Some(keys.collect::<Vec<_>>())
        });
        match keys {
            Some(keys) => scan.order = scan.order.map(|order| Order { keys, ..order }),
            None => scan.order = None,
        }
        scan
    }

    /// What must come first where the statistics say nothing.
    fn not_known(&self, query: &Query, table: &Table) -> Option<Note> {
        if table.is_analysed() && !(table.rows == 0.0 && table.pages > 10.0) {
            return None;
        }
        if table.pages < 1.0 {
            return None;
        }
        Some(Note {
            case: query.id.clone(),
            code: "not_analysed",
            message: format!("{0} has no statistics: run ANALYZE {0} first, then ask again", table.shown),
        })
    }

    /// Whether there is such an index already; an invalid one is named.
    fn exists(
        &self,
        specs: &[Spec],
        table: &Table,
        subject: &Subject<'_>,
        query: &Query,
        notes: &mut Vec<Note>,
    ) -> bool {
        let equal = |spec: &Spec| {
            let fixed = |sql: &str| {
                subject.conditions.iter().chain(subject.joined.iter().flatten()).any(|condition| {
                    condition.uses.iter().any(|one| matches!(one, Use::Equal { key, .. } if key.sql == sql))
                })
            };
            spec.keys.iter().take_while(|key| fixed(&key.sql)).count()
        };
        let found: Vec<_> = specs.iter().map(|spec| spec.existing(table, equal(spec))).collect();
        if found.iter().any(Option::is_none) {
            return self.each_leaf_has_it(specs, table, &equal, query, notes);
        }
        for index in found.into_iter().flatten().filter(|index| !index.valid) {
            let note = existing::unusable(query, index);
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        true
    }

    /// The best set for one statement, proven where that can be done.
    async fn best(
        &self,
        session: &mut Session<'_>,
        prover: &mut Prover,
        case: usize,
        scans: Vec<Vec<Choice>>,
        notes: &mut Vec<Note>,
    ) -> Vec<Chosen> {
        let Some((query, reading)) = self.read.get(case) else { return Vec::new() };
        let provable = |choice: &Choice| {
            choice.specs.iter().all(|spec| {
                self.catalog.by_oid(spec.table).is_some_and(|table| prover.can_prove(spec, table))
            })
        };
        let (to_prove, mut by_model): (Vec<Vec<Choice>>, Vec<Vec<Choice>>) =
            scans.into_iter().partition(|choices| choices.iter().all(provable));
        let mut chosen = Vec::new();
        let mut cost = reading.cost;
        if !to_prove.is_empty() {
            match self.proven(session, prover, query, reading, &to_prove).await {
                Some((found, left)) => {
                    cost = left.min(cost);
                    chosen.extend(found);
                }
                // A copy that the statement does not see, or that there is no room for, proves nothing.
                None => {
                    if let Some(within) = prover.over() {
                        notes.push(not_proven(query, within));
                    }
                    by_model.extend(to_prove);
                }
            }
        }
        let mut best: Vec<Choice> = by_model.iter().filter_map(|choices| smallest_of_best(choices)).collect();
        best.sort_by(|a, b| b.saved.total_cmp(&a.saved));
        let mut modelled = Vec::new();
        for choice in best.into_iter().take(MOST_INDEXES) {
            if choice.saved >= 0.1 * reading.cost && choice.saved <= cost * 1.0001 {
                cost = (cost - choice.saved).max(0.0);
                modelled.push(choice);
            }
        }
        let saved = reading.cost - cost;
        if saved < self.config.least_gain * reading.cost || saved < self.config.least_saved {
            return Vec::new();
        }
        let of = |choice: Choice, proof: &'static str| {
            let parts = choice.specs.len().max(1) as f64;
            choice.specs.into_iter().map(move |spec| (spec, proof, choice.size / parts)).collect::<Vec<_>>()
        };
        let word = prover.word();
        let all = chosen
            .into_iter()
            .flat_map(|choice| of(choice, word))
            .chain(modelled.into_iter().flat_map(|choice| of(choice, "model")));
        let mut seen = BTreeSet::new();
        all.filter(|(spec, ..)| seen.insert(spec.clone()) && self.is_worth_it(query, spec, saved))
            .map(|(spec, proof, bytes)| Chosen {
                case,
                spec,
                cost: [reading.cost, cost.max(0.0)],
                proof,
                bytes,
                notes: Vec::new(),
            })
            .collect()
    }

    /// Greedy: the index that saves most, then the next with it; none where nothing could be proven either
    /// way.
    async fn proven(
        &self,
        session: &mut Session<'_>,
        prover: &mut Prover,
        query: &Query,
        reading: &Reading,
        scans: &[Vec<Choice>],
    ) -> Option<(Vec<Choice>, f64)> {
        let mut pool: Vec<Choice> = Vec::new();
        let mut any = false;
        for mut choices in scans.iter().cloned() {
            choices.sort_by(|a, b| b.saved.total_cmp(&a.saved));
            let built = matches!(prover, Prover::Build { .. });
            choices.truncate(if built { MOST_BUILT } else { MOST_PROVEN });
            pool.extend(choices);
        }
        let mut base = reading.cost;
        if matches!(prover, Prover::Build { .. }) {
            // Copies are packed, and have statistics of their own: like is compared with like.
            let empty: Vec<&Spec> = Vec::new();
            for choice in &pool {
                for spec in &choice.specs {
                    prover.copy_table(session, self.catalog, spec.table).await;
                }
            }
            if let Some(proof) = prover.cost_with(session, self.catalog, query, &empty).await {
                base = proof.cost;
            }
        }
        let (mut taken, mut cost): (Vec<Choice>, f64) = (Vec::new(), base);
        while taken.len() < MOST_INDEXES {
            let mut best: Option<(Choice, f64)> = None;
            for choice in &pool {
                let specs: Vec<&Spec> =
                    taken.iter().chain([choice]).flat_map(|choice| &choice.specs).collect();
                let Some(proof) = prover.cost_with(session, self.catalog, query, &specs).await else {
                    continue;
                };
                any = true;
                if !proof.used || proof.cost > cost - 0.1 * base {
                    continue;
                }
                let mut choice = choice.clone();
                choice.size = proof.bytes;
                let better = best.as_ref().is_none_or(|(other, least)| {
                    let close = (proof.cost - least).abs() <= 0.03 * base;
                    if close { choice.size < other.size } else { proof.cost < *least }
                });
                if better {
                    best = Some((choice, proof.cost));
                }
            }
            let Some((choice, least)) = best else { break };
            cost = least;
            pool.retain(|other| other.specs != choice.specs);
            taken.push(choice);
            if pool.is_empty() || cost < 0.05 * base {
                break;
            }
        }
        if prover.over().is_some() {
            return None;
        }
        let share = if base > 0.0 { cost / base } else { 1.0 };
        if any { Some((taken, reading.cost * share)) } else { None }
    }

    /// Whether what is saved outweighs what the index costs writes.
    fn is_worth_it(&self, query: &Query, spec: &Spec, saved: f64) -> bool {
        let Some(calls) = query.calls_per_day else { return true };
        let Some(table) = self.catalog.by_oid(spec.table) else { return true };
        let planned = self.writes.get(&spec.table).copied().unwrap_or(0.0);
        let counted = match self.catalog.window_days {
            Some(days) if days >= 1.0 => (table.inserts + table.updates) / days,
            _ => 0.0,
        };
        let each = if spec.method == "gin" { 5.0 * WRITE_COST } else { WRITE_COST };
        saved * calls > planned.max(counted) * each
    }

    /// An index whose keys are the first of another's gives way to it, where that one helps its statement as
    /// well.
    async fn merged(
        &self,
        session: &mut Session<'_>,
        prover: &mut Prover,
        mut chosen: Vec<Chosen>,
    ) -> Result<Vec<Chosen>, AdviceError> {
        for at in 0..chosen.len() {
            let Some(one) = chosen.get(at) else { continue };
            let wider = chosen
                .iter()
                .filter(|other| other.spec != one.spec && one.spec.is_prefix_of(&other.spec))
                .max_by_key(|other| other.spec.keys.len())
                .map(|other| other.spec.clone());
            let Some(wider) = wider else { continue };
            let Some((query, reading)) = self.read.get(one.case) else { continue };
            let table = self.catalog.by_oid(wider.table);
            let can = table.is_some_and(|table| prover.can_prove(&wider, table));
            let cost = if can && one.proof != "model" {
                let proof = prover.cost_with(session, self.catalog, query, &[&wider]).await;
                match proof.filter(|proof| proof.used) {
                    Some(proof) => proof.cost,
                    None => continue,
                }
            } else {
                // A wider entry: a little more to read.
                one.cost[1] * 1.1
            };
            let enough = reading.cost.max(one.cost[0]) - cost >= self.config.least_gain * one.cost[0];
            if enough && let Some(one) = chosen.get_mut(at) {
                one.spec = wider;
                one.cost[1] = cost;
            }
        }
        Ok(chosen)
    }
}
