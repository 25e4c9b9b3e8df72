//! `alarm list|disarm`.

use tenure::wire::etcdserverpb::AlarmType;

use super::{Session, space};
use crate::{
    args::{Alarm, Format},
    failure::Failure,
    output::Reply,
};

pub(super) async fn run(session: &Session, command: Alarm) -> Result<(), Failure> {
    let client = &session.client;
    match command {
        Alarm::List => {
            let raised = client.maintenance().alarms().await?;
            let alarms = raised.clone().into_vec();
            session.output.print(&Reply::Alarm(raised.into_wire()))?;
            if session.output.format == Format::Simple {
                space::explain(session, &alarms).await;
            }
            Ok(())
        }
        Alarm::Disarm => {
            let raised = client.maintenance().alarms().await?;
            let mut disarmed = raised.clone().into_wire();
            for alarm in &raised {
                let (member, kind) = (alarm.member_id(), alarm.kind());
                let answer = client.maintenance().disarm(member, kind).await?;
                disarmed.header = Some(answer.header().into_wire());
            }
            disarmed
                .alarms
                .retain(|alarm| alarm.alarm() != AlarmType::None);
            session.output.print(&Reply::Alarm(disarmed))
        }
    }
}
