//! Brokers that go and come back.

use kafka_protocol::messages::{BrokerId, TopicName};

use super::{
    super::{
        Cluster, Time,
        broker::{Broker, BrokerState},
        connection::CloseCause,
        timers::Timer,
    },
    CATCH_UP, Election,
};

impl Cluster {
    /// A broker loses its power: its connections break at once, and the controller notices after
    /// `broker.session.timeout.ms`. `false`: there is no such broker, or it does not run.
    pub fn kill_broker(&mut self, now: Time, id: i32) -> bool {
        self.advance(now);
        let id = BrokerId(id);
        let timeout = self.settings.millis("broker.session.timeout.ms");
        match self.brokers.get_mut(&id) {
            Some(broker) if broker.state == BrokerState::Running => {
                broker.state = BrokerState::Silent;
            }
            _ => return false,
        }
        self.stall(id);
        self.timers.set(Timer::Broker(id), now + timeout);
        self.close_connections(id);
        self.serve_ready(now);
        true
    }

    /// A broker is shut down in order: its leaders move, then it goes. `false`: there is no such broker, or it
    /// does not run.
    pub fn stop_broker(&mut self, now: Time, id: i32) -> bool {
        self.advance(now);
        let id = BrokerId(id);
        if self.brokers.get(&id).is_none_or(|broker| broker.state != BrokerState::Running) {
            return false;
        }
        self.stall(id);
        self.fence(id);
        self.close_connections(id);
        self.serve_ready(now);
        true
    }

    /// A broker that is away returns, with the disk that it had. `false`: there is no such broker, or it runs.
    pub fn start_broker(&mut self, now: Time, id: i32) -> bool {
        self.advance(now);
        let id = BrokerId(id);
        match self.brokers.get(&id).map(|broker| broker.state) {
            None | Some(BrokerState::Running) => return false,
            // It registers anew, and with that its former life is over.
            Some(BrokerState::Silent) => self.fence(id),
            Some(BrokerState::Fenced) => {}
        }
        if let Some(broker) = self.brokers.get_mut(&id) {
            broker.state = BrokerState::Running;
        }
        self.transactions.producer_ids.broker_restarted(id);
        self.fetch_sessions.forget(id);
        self.returned(id);
        self.serve_ready(now);
        true
    }

    /// Elects the preferred leaders of every partition, or leaders at any price for those that have none.
    /// Gives back how many partitions have another leader.
    pub fn elect_leaders(&mut self, now: Time, unclean: bool) -> usize {
        self.advance(now);
        let election = if unclean { Election::Unclean } else { Election::Preferred };
        let all = self.topics.all_partitions();
        let elected =
            all.iter().filter(|(name, index)| self.elect_leader(name, *index, election).is_ok());
        let count = elected.count();
        self.serve_ready(now);
        count
    }

    /// A broker's disk fails or is well again: without it, it serves but neither leads nor follows.
    pub(in super::super) fn set_disk(&mut self, id: BrokerId, online: bool) {
        let Some(broker) = self.brokers.get_mut(&id) else { return };
        if broker.disk_online == online {
            return;
        }
        broker.disk_online = online;
        if online {
            self.returned(id);
        } else {
            self.stall(id);
            self.leave_isrs(id);
        }
    }

    /// Something about a broker is due: the controller notices that it is gone, or it has caught up.
    pub(in super::super) fn broker_is_due(&mut self, id: BrokerId) {
        match self.brokers.get(&id).map(|broker| broker.state) {
            Some(BrokerState::Silent) => self.fence(id),
            Some(BrokerState::Running) => self.catch_up(id),
            Some(BrokerState::Fenced) | None => {}
        }
    }

    /// Gives leaders back to the replicas that should have them.
    pub(in super::super) fn balance_is_due(&mut self) {
        for (name, index) in self.topics.all_partitions() {
            // An election that is not needed or not possible leaves everything as it is.
            let _ = self.elect_leader(&name, index, Election::Preferred);
            if self.topics.partition(&name, index).is_some_and(|it| !it.has_preferred_leader()) {
                self.balance_later();
            }
        }
    }

    /// From here on its replicas get nothing more.
    fn stall(&mut self, id: BrokerId) {
        for (_, topic) in self.topics.iter_mut() {
            for partition in &mut topic.partitions {
                if partition.replicas.contains(&id) {
                    partition.log.replica_stopped(id);
                }
            }
        }
    }

    fn fence(&mut self, id: BrokerId) {
        if let Some(broker) = self.brokers.get_mut(&id) {
            broker.state = BrokerState::Fenced;
        }
        self.timers.clear(&Timer::Broker(id));
        self.leave_isrs(id);
    }

    fn leave_isrs(&mut self, id: BrokerId) {
        for (name, index) in self.topics.all_partitions() {
            let Some(partition) = self.topics.partition(&name, index) else { continue };
            if partition.isr.contains(&id) {
                let rest = partition.isr.iter().copied().filter(|other| *other != id).collect();
                self.change_partition(&name, index, rest, Election::Online);
            }
        }
    }

    /// A broker can lead again: what has no leader may get it; what has one is caught up with.
    fn returned(&mut self, id: BrokerId) {
        for (name, index) in self.topics.all_partitions() {
            let Some(partition) = self.topics.partition(&name, index) else { continue };
            if partition.leader.is_none() && partition.replicas.contains(&id) {
                let isr = partition.isr.clone();
                self.change_partition(&name, index, isr, Election::Online);
            }
        }
        self.timers.set(Timer::Broker(id), self.now + CATCH_UP);
    }

    /// The replicas of a broker that runs are in sync with every leader that runs.
    fn catch_up(&mut self, id: BrokerId) {
        if self.brokers.get(&id).is_none_or(|broker| !broker.is_active()) {
            return;
        }
        for (name, index) in self.topics.all_partitions() {
            let leads = |leader| self.brokers.get(leader).is_some_and(Broker::is_active);
            let Some(partition) = self.topics.partition_mut(&name, index) else { continue };
            if !partition.log.is_stopped(id) || !partition.leader.as_ref().is_some_and(leads) {
                continue;
            }
            partition.log.replica_returned(id);
            if partition.isr.contains(&id) {
                self.isr_changed(&name, index);
                continue;
            }
            let mut isr = partition.isr.clone();
            isr.push(id);
            self.change_partition(&name, index, isr, Election::Online);
        }
    }

    /// A partition has a leader again: replicas that run and had none to follow will catch up.
    pub(super) fn wake_followers(&mut self, name: &TopicName, index: i32) {
        let Some(partition) = self.topics.partition(name, index) else { return };
        let running = |id: &&BrokerId| self.brokers.get(*id).is_some_and(Broker::is_active);
        let behind: Vec<_> = partition.log.stopped_replicas().filter(|id| running(&id)).collect();
        for id in behind {
            if !self.timers.is_set(&Timer::Broker(id)) {
                self.timers.set(Timer::Broker(id), self.now + CATCH_UP);
            }
        }
    }

    fn close_connections(&mut self, broker: BrokerId) {
        let of = self.connections.iter().filter(|(_, connection)| connection.broker == broker);
        let ids: Vec<_> = of.map(|(id, _)| *id).collect();
        for id in ids {
            self.close_connection(id, CloseCause::BrokerDown);
        }
    }
}
