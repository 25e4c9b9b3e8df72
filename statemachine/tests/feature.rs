//! The feature level: raised by a command, never lowered, and known or the node stops by name.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;

use tenure_statemachine::{
    Command, Context, Fault, FeatureLevel, MemEngine, Reader, Reply, StateMachine, Table, View,
    WriteBatch, WriteOp, codec, decode_group, digest, encode_group, level_needed,
};

const BEYOND: FeatureLevel = FeatureLevel(FeatureLevel::NEWEST.0 + 1);

fn machine() -> (Arc<MemEngine>, StateMachine) {
    let engine = Arc::new(MemEngine::new());
    let machine = StateMachine::open(engine.clone()).unwrap();
    (engine, machine)
}

fn raise(machine: &mut StateMachine, level: FeatureLevel) -> Result<Reply, Fault> {
    let index = machine.meta().applied_index + 1;
    let context = Context {
        index,
        ..Context::default()
    };
    let mut batch = machine.begin();
    let outcome = batch.apply(&context, &Command::RaiseLevel(level))?;
    batch.commit()?;
    Ok(outcome.reply.unwrap())
}

#[test]
fn a_level_is_raised_kept_and_never_lowered() {
    let (engine, mut machine) = machine();
    assert_eq!(machine.meta().level, FeatureLevel::FIRST);
    let before = digest(&*engine).unwrap();
    assert_eq!(
        raise(&mut machine, FeatureLevel::BOUNDED).unwrap(),
        Reply::Done
    );
    assert_eq!(machine.meta().level, FeatureLevel::BOUNDED);
    assert_ne!(digest(&*engine).unwrap(), before);
    raise(&mut machine, FeatureLevel::FIRST).unwrap();
    let reopened = StateMachine::open(engine.clone()).unwrap();
    assert_eq!(reopened.meta().level, FeatureLevel::BOUNDED);
    let reader = Reader::new(&*engine).unwrap();
    assert_eq!(reader.meta().level, FeatureLevel::BOUNDED);
}

#[test]
fn a_raise_beyond_what_is_known_stops_the_node_by_name_and_changes_nothing() {
    let (engine, mut machine) = machine();
    let before = digest(&*engine).unwrap();
    let fault = raise(&mut machine, BEYOND).unwrap_err();
    let (level, newest) = (BEYOND, FeatureLevel::NEWEST);
    assert_eq!(
        fault.to_string(),
        format!(
            "this member is too old for feature level {level}: it knows levels up to {newest}; \
             upgrade it"
        )
    );
    assert_eq!(digest(&*engine).unwrap(), before);
}

#[test]
fn a_state_beyond_what_is_known_is_not_opened() {
    let (engine, mut machine) = machine();
    raise(&mut machine, FeatureLevel::NEWEST).unwrap();
    let counters = engine.get(Table::Meta, &[0]).unwrap().unwrap();
    let mut row = counters.to_vec();
    // The level is in the last eight bytes, above the lowest of them.
    let place = row.len() - 2;
    row[place] += 1;
    let ops = vec![WriteOp::Put(Table::Meta, vec![0].into(), row.into())];
    tenure_statemachine::Engine::write(&*engine, WriteBatch { ops }).unwrap();
    let fault = StateMachine::open(engine).unwrap_err();
    assert!(
        fault.to_string().starts_with("this member is too old"),
        "{fault}"
    );
}

#[test]
fn a_command_of_an_unknown_kind_is_told_from_damage() {
    let group = encode_group(1, 2, &[Command::Wake]).to_vec();
    let (kind, head) = group.split_last().unwrap();
    assert_eq!(*kind, 17);
    let unknown = [head, &[200]].concat();
    let fault = decode_group(unknown.into()).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "this member is too old for a command of kind 200 in its log; upgrade it"
    );
}

/// Proposed once every member is known to understand it, so it waits for no level itself.
#[test]
fn a_raise_needs_no_level_and_is_encodable() {
    let raise = Command::RaiseLevel(FeatureLevel::NEWEST);
    assert_eq!(level_needed(&raise), FeatureLevel::FIRST);
    assert!(codec::is_encodable(&raise));
}
