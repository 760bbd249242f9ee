//! Upgrades that die: at any task, at any write of the store, by an interrupt; the next run finishes them.

use kubewright::store::Objects as _;

use crate::upgrade::{HA, assert_upgraded, replay, version};
use crate::upgrade_replace::mixed;
use crate::world::*;

fn forked(calm: &World) -> World {
    World { cloud: calm.cloud.fork(), ids: calm.ids.clone(), nodes: calm.nodes.fork(), ..World::new() }
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_that_is_killed_at_any_task_is_finished_by_the_next() {
    let calm = World::of(&mixed(1, "")).await;
    let (stored, start) = (calm.dump().await, calm.nodes.calls());
    let base = forked(&calm);
    let _ = calm.run(&["upgrade", "--to", "1.35.4", "--yes"]).await.expect(0);
    let tasks = calm.nodes.calls() - start;
    assert!(tasks >= 24, "{tasks}");
    for n in 0..tasks {
        for done in [false, true] {
            let what = format!("killed at task {n}, done: {done}");
            let world = forked(&base);
            world.restore(&stored).await;
            *world.nodes.hang.lock().unwrap() = Some((n, done));
            tokio::select! {
                ran = world.run(&["upgrade", "--to", "1.35.4", "--yes"]) => panic!("{what}: it ended by itself\n{ran}"),
                () = world.nodes.hung.notified() => {}
            }
            let _ = world.run(&["lock", "break", NAME, "--yes"]).await.expect(0);
            if n == tasks / 2 {
                // Nothing else may take it from here.
                for args in [&["update"][..], &["rolling-update"]] {
                    let _ = world.run(args).await.expect(5).says(&["is under way", "kubewright upgrade"]);
                }
                let lower = world.run(&["upgrade", "--to", "1.34.2"]).await.expect(5);
                let _ = lower.says(&["an upgrade to 1.35.4 is under way"]);
                let _ =
                    world.run(&["upgrade", "--to", "1.35.4"]).await.expect(0).says(&["what is left of the upgrade to 1.35.4"]);
            }
            let ran = world.run(&["upgrade", "--to", "1.35.4", "--yes"]).await;
            assert_eq!(ran.code, 0, "{what}\n{ran}");
            assert_upgraded(&world, "1.35.4", &what).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_was_killed_in_the_first_hop_goes_on_to_a_later_one() {
    let world = World::of(SMALL).await;
    *world.nodes.hang.lock().unwrap() = Some((world.state().nodes.len() + 3, true));
    tokio::select! {
        ran = world.run(&["upgrade", "--to", "1.35.4", "--yes"]) => panic!("it ended by itself\n{ran}"),
        () = world.nodes.hung.notified() => {}
    }
    let _ = world.run(&["lock", "break", NAME, "--yes"]).await.expect(0);
    let _ = world.run(&["upgrade", "--to", "1.37.0", "--yes"]).await.expect(0).says(&["Upgraded to 1.35.4, 1.36.3, 1.37.0"]);
    let runs = replay(&world.nodes.inner.asked());
    assert!(runs.values().all(|runs| *runs == version("1.37.0")), "{runs:?}");
    let _ = world.settled().await;
    let _ = world.run(&["validate"]).await.expect(0);
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_ends_the_step_and_the_next_run_goes_on() {
    let world = World::of(&HA).await;
    let begun = world.nodes.inner.asked().len() + world.state().nodes.len();
    let interrupt = async {
        // Until the first control plane is drained: while this looks, no time passes.
        while world.nodes.inner.asked().len() < begun + 2 {
            tokio::task::yield_now().await;
        }
        world.interrupts.add_permits(1);
        std::future::pending::<()>().await
    };
    let ran = tokio::select! {
        ran = world.run(&["upgrade", "--to", "1.35.4", "--yes"]) => ran,
        () = interrupt => unreachable!(),
    };
    let _ = ran.expect(130).says(&["Stopped after", "goes on where this run stopped"]);
    assert!(world.nodes.inner.asked().iter().all(|asked| asked.succeeded.is_some()));
    let _ = world.run(&["upgrade", "--to", "1.35.4", "--yes"]).await.expect(0);
    assert_upgraded(&world, "1.35.4", "after an interrupt").await;
}

/// A run may die between the three writes that register a hop: its revision, the state, the spec.
#[tokio::test(start_paused = true)]
async fn a_hop_that_was_half_registered_is_registered_by_the_next() {
    let text = HA.replace("'1.34.2'", "\"1.35.4\"");
    let put = async |world: &World, name: &str, bytes: &[u8]| {
        world.memory().put(&format!("{NAME}/{name}"), bytes.to_vec(), kubewright::store::Condition::Always).await.unwrap();
    };
    let world = World::of(&HA).await;
    put(&world, "revisions/0002.toml", text.as_bytes()).await;
    let _ = world.run(&["upgrade", "--to", "1.35.4", "--yes"]).await.expect(0).says(&["Revision 2 of the spec"]);
    assert_upgraded(&world, "1.35.4", "the revision was there").await;

    let world = World::of(&HA).await;
    // The first task after every machine has what the version is made of.
    *world.nodes.hang.lock().unwrap() = Some((world.state().nodes.len(), false));
    tokio::select! {
        ran = world.run(&["upgrade", "--to", "1.35.4", "--yes"]) => panic!("it ended by itself\n{ran}"),
        () = world.nodes.hung.notified() => {}
    }
    let _ = world.run(&["lock", "break", NAME, "--yes"]).await.expect(0);
    put(&world, "spec.toml", HA.as_bytes()).await;
    let _ = world.run(&["upgrade", "--to", "1.35.4", "--yes"]).await.expect(0);
    assert_upgraded(&world, "1.35.4", "the spec was not").await;
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_that_is_killed_at_any_write_of_the_store_is_finished_by_the_next() {
    let spec = HA.replace("count = 3", "count = 1").replace("count = 4", "count = 1");
    let calm = World::of(&spec.replace("max_surge = 0, max_unavailable = 2", "upgrade = \"replace\"")).await;
    let (stored, before) = (calm.dump().await, calm.memory().writes());
    let base = forked(&calm);
    let _ = calm.run(&["upgrade", "--to", "1.36.3", "--yes"]).await.expect(0);
    let writes = calm.memory().writes() - before;
    assert!(writes > 20, "{writes}");
    for n in 1..=writes {
        for done in [false, true] {
            let what = format!("killed at write {n}, done: {done}");
            let world = forked(&base);
            world.restore(&stored).await;
            world.memory().fault(world.memory().writes() + n, kubewright::store::memory::Fault::Hang { done });
            let args = ["upgrade", "--to", "1.36.3", "--yes"];
            let _ = tokio::time::timeout(std::time::Duration::from_secs(300), world.run(&args)).await;
            // Some of the dead runs hold it, others had not come so far.
            let _ = world.run(&["lock", "break", NAME, "--yes"]).await;
            let ran = world.run(&args).await;
            assert_eq!(ran.code, 0, "{what}\n{ran}");
            assert_upgraded(&world, "1.36.3", &what).await;
        }
    }
}
