//! What no decision may lead to, judged by what is true rather than by what was seen, and by sums of its own.

use kubewright::rolling::{Address, Cordon, FORGETTING, Machine, Stage, Step, View, Work};

use crate::model::{Model, Truth};

/// Says which rule a step breaks.
pub fn broken(model: &Model, step: &Step) -> Option<String> {
    let view = &model.view;
    let group = &view.groups[step.group];
    let machine = model.place(step).map(|place| &view.machines[place]);
    if let Some(machine) = machine
        && machine.work.is_some()
    {
        return Some("two works at once on one machine".into());
    }
    if !group.selected && step.work != Work::Uncordon {
        return Some("a group that nobody asked for".into());
    }
    let found = match (&step.work, machine) {
        (Work::Upgrade { .. }, _) => Some("a machine of a group that is replaced is upgraded where it stands".into()),
        (Work::Create, None) => create(model, step),
        (Work::Create, Some(_)) => Some("the slot is taken".into()),
        (_, None) => Some("there is no such machine".into()),
        (_, Some(machine)) => of_machine(model, step, machine),
    };
    found.or_else(|| if group.control_plane { control(model, step) } else { None })
}

/// Is to be replaced: as it was made, or as old as it is.
pub fn behind(view: &View, machine: &Machine) -> bool {
    match view.to {
        Some(to) => machine.stage == Stage::Joined && machine.kubelet.is_some_and(|is| is < to),
        None => !machine.behind.is_empty(),
    }
}

fn live(model: &Model, group: usize) -> usize {
    model.view.machines.iter().filter(|machine| machine.group == group && machine.stage != Stage::Lost).count()
}

fn create(model: &Model, step: &Step) -> Option<String> {
    let group = &model.view.groups[step.group];
    if !group.zones.contains(&step.slot.zone) || step.slot.group != group.name || step.slot.n == 0 {
        return Some("a slot that is none".into());
    }
    let there = live(model, step.group);
    let surge = if model.view.abort { 0 } else { group.max_surge };
    if there >= (group.count + surge) as usize {
        return Some(format!("max_surge: {there} machines are there already"));
    }
    begun_too_early(model, step)
}

/// Whether new kubelets or missing nodes come before the control planes are done.
fn begun_too_early(model: &Model, step: &Step) -> Option<String> {
    let groups = &model.view.groups;
    let open = |machine: &&Machine| {
        let group = &groups[machine.group];
        group.control_plane && group.selected && (behind(&model.view, machine) || machine.work.is_some())
    };
    let early =
        !groups[step.group].control_plane && !model.view.abort && model.view.machines.iter().any(|machine| open(&machine));
    early.then(|| "nodes are begun before the control planes are done".into())
}

fn of_machine(model: &Model, step: &Step, machine: &Machine) -> Option<String> {
    let group = &model.view.groups[step.group];
    let place = model.place(step)?;
    let truth = &model.truth[place];
    let well = !truth.down && !truth.cut;
    let joined = |machine: &&Machine| machine.group == step.group && machine.stage == Stage::Joined;
    let surplus = model.view.machines.iter().filter(joined).count() > group.count as usize;
    // Its member is gone: it is a control plane in name only.
    let headless = group.control_plane && !model.members().iter().any(|member| member.instance == machine.instance);
    let stays = !behind(&model.view, machine) && !surplus && !headless;
    match &step.work {
        Work::Drain { force: true, .. } if !group.force_drain => return Some("pods are deleted that a budget keeps".into()),
        Work::Drain { force: true, .. } if machine.overdue.is_none() => {
            return Some("pods are deleted before their time is over".into());
        }
        Work::Drain { within, .. } if *within < group.drain_timeout => return Some("a drain has too little time".into()),
        Work::Cordon | Work::Drain { .. } | Work::Withdraw if stays => return Some("a machine that stays is taken away".into()),
        Work::Cordon | Work::Drain { .. } if !group.control_plane => {
            return too_few(model, step, machine).or_else(|| begun_too_early(model, step));
        }
        Work::Terminate if machine.stage != Stage::Joined => return Some("terminated before it joined".into()),
        Work::Terminate if well && !headless && !machine.drained => return Some("terminated with its pods".into()),
        Work::Clear if machine.stage == Stage::Joined => return Some("cleared away with its pods".into()),
        Work::Uncordon if machine.cordon != Cordon::Ours => return Some("a cordon of somebody else's is taken back".into()),
        Work::Join if machine.stage != Stage::Created => return Some("joined twice".into()),
        _ => {}
    }
    None
}

/// Counts what is left when this machine goes, against what the spec asks for.
fn too_few(model: &Model, step: &Step, machine: &Machine) -> Option<String> {
    let group = &model.view.groups[step.group];
    let of_group = || model.view.machines.iter().zip(&model.truth).filter(|(other, _)| other.group == step.group);
    let takes = |work: &Option<Work>| matches!(work, Some(Work::Cordon | Work::Drain { .. } | Work::Terminate));
    let serves = |other: &Machine, truth: &Truth| {
        let well = !truth.down && !truth.cut;
        other.stage == Stage::Joined && well && other.cordon == Cordon::No && !takes(&other.work)
    };
    let out_before = of_group().filter(|(other, truth)| {
        let before = other.ill_before || other.cordon == Cordon::Foreign;
        other.stage == Stage::Joined && !behind(&model.view, other) && !serves(other, truth) && before
    });
    let needed = (group.count as usize).saturating_sub(group.max_unavailable as usize + out_before.count());
    let after = of_group().filter(|(other, truth)| other.slot != machine.slot && serves(other, truth)).count();
    let itself = of_group().any(|(other, truth)| other.slot == machine.slot && serves(other, truth));
    let drains = matches!(step.work, Work::Drain { .. }) && machine.cordon == Cordon::Ours;
    ((itself || drains) && after < needed).then(|| format!("max_unavailable: {after} are left, {needed} are needed"))
}

fn control(model: &Model, step: &Step) -> Option<String> {
    let view = &model.view;
    let planes: Vec<&Machine> = view.machines.iter().filter(|machine| view.groups[machine.group].control_plane).collect();
    if planes.iter().any(|machine| machine.work.is_some()) {
        return Some("two control-plane changes at once".into());
    }
    let this = planes.iter().find(|machine| machine.slot == step.slot);
    let leaving = |machine: &&&Machine| {
        machine.slot != step.slot && (machine.cordon == Cordon::Ours || matches!(machine.address, Address::Withdrawn(_)))
    };
    let members = model.members();
    let member = this.and_then(|machine| members.iter().find(|member| member.instance == machine.instance));
    let well = this.and_then(|machine| view.machines.iter().position(|other| other.slot == machine.slot));
    let well = well.is_some_and(|place| !model.truth[place].down && !model.truth[place].cut);
    match &step.work {
        Work::Withdraw | Work::Cordon if planes.iter().filter(leaving).count() > 0 => {
            Some("a second control plane is begun before the first is done".into())
        }
        Work::Create if planes.iter().any(|machine| matches!(machine.stage, Stage::Created | Stage::Requested)) => {
            Some("a second control plane is made before the first has joined".into())
        }
        Work::Terminate | Work::Clear if member.is_some() => Some("an instance goes before its etcd member".into()),
        Work::Join => {
            let (voters, able) = votes(model, None);
            (able < voters / 2 + 1 || able < voters.div_ceil(2)).then(|| "a member joins without a quorum".into())
        }
        Work::RemoveMember(id) => {
            let member = members.iter().find(|member| member.id == *id)?;
            let (voters, able) = votes(model, None);
            if able < voters / 2 + 1 {
                return Some(format!("quorum: {able} of {voters} voters cannot remove a member"));
            }
            if member.learner {
                return None;
            }
            let (voters, able) = votes(model, Some(id));
            if voters == 0 || able < voters / 2 + 1 {
                return Some(format!("quorum: {able} of {voters} voters are left"));
            }
            let this = this.filter(|machine| machine.stage == Stage::Joined)?;
            if view.snapshot.as_deref() != Some(&this.instance) {
                return Some("no snapshot before a control plane goes".into());
            }
            if !well {
                return None;
            }
            if member.leader && able > 0 {
                return Some("the leader is removed".into());
            }
            match this.address {
                _ if !this.drained => Some("a member goes before the pods".into()),
                Address::Withdrawn(at) if view.now >= at + FORGETTING => None,
                // Never published.
                Address::None => None,
                _ => Some("a member goes while clients know its address".into()),
            }
        }
        _ => None,
    }
}

/// Voters, and those that truly vote, without one of them.
fn votes(model: &Model, without: Option<&str>) -> (usize, usize) {
    let voters = model.members().iter().filter(|member| !member.learner && Some(member.id.as_str()) != without);
    voters.fold((0, 0), |(all, able), member| (all + 1, able + usize::from(model.truth_of(member).is_some_and(Truth::votes))))
}

/// Says what is not at rest although a roll says that it is done.
pub fn unfinished(model: &Model) -> Option<String> {
    let view = &model.view;
    for machine in &view.machines {
        let group = &view.groups[machine.group];
        let slot = &machine.slot;
        if machine.work.is_some() {
            return Some(format!("{slot}: is in work"));
        }
        if !group.selected {
            continue;
        }
        match machine {
            Machine { stage: Stage::Created | Stage::Requested | Stage::Lost, .. } => {
                return Some(format!("{slot}: has not joined"));
            }
            machine if behind(view, machine) && !view.abort => return Some(format!("{slot}: is behind")),
            Machine { cordon: Cordon::Ours, .. } => return Some(format!("{slot}: is cordoned by us")),
            machine if group.control_plane && machine.address != Address::Published && !machine.ill_before => {
                return Some(format!("{slot}: is not published"));
            }
            _ => {}
        }
    }
    let counts =
        view.groups.iter().enumerate().filter(|(number, group)| group.selected && live(model, *number) != group.count as usize);
    counts.map(|(_, group)| format!("{}: is not {}", group.name, group.count)).next()
}

/// Machines of one group that are further apart than one, zone by zone.
pub fn uneven(model: &Model) -> Option<String> {
    for (number, group) in model.view.groups.iter().enumerate().filter(|(_, group)| group.selected) {
        let of = |zone: &String| {
            let there = |machine: &&Machine| machine.group == number && machine.slot.zone == *zone;
            model.view.machines.iter().filter(there).count()
        };
        let counts: Vec<usize> = group.zones.iter().map(of).collect();
        if counts.iter().max() > counts.iter().min().map(|least| least + 1).as_ref() {
            return Some(format!("{}: {counts:?} machines in its zones", group.name));
        }
    }
    None
}
