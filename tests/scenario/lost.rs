//! Machines that AWS, or somebody, ends while they are worked on.

use kubewright::plan::{Change, Ref};

use crate::world::*;

/// One that is waited for is left at once when the run is interrupted, one that is worked on is not.
#[tokio::test(start_paused = true)]
async fn an_interrupt_ends_the_wait_for_machines_that_let_nobody_in() {
    let world = World::new();
    *world.nodes.hang.lock().unwrap() = Some((0, false));
    let spec = world.spec(LARGE);
    let interrupt = async {
        world.nodes.hung.notified().await;
        world.interrupts.add_permits(1);
    };
    let create = ["create", "-f", &spec, "--yes"];
    let (ran, ()) = tokio::join!(world.run(&create), interrupt);
    assert_eq!(ran.code, 130, "{ran}");
    let _ = ran.says(&["Next:", "kubewright update"]).silent_about("error:");
    let _ = world.run(&["update", "--yes"]).await.expect(0);
    let _ = world.settled().await;
}

/// At any task of a create, before and after its deed, the machine is ended: the run says so instead of waiting for it to boot, the others
/// go on, and the next run ends in what a calm create makes.
#[tokio::test(start_paused = true)]
async fn a_machine_that_is_ended_at_any_task_is_told_and_replaced_by_the_next_run() {
    let calm = World::of(LARGE).await;
    let tasks = calm.nodes.inner.asked().len();
    assert!(tasks >= 14, "{tasks}");
    for n in 0..tasks {
        for done in [false, true] {
            let world = World::new();
            *world.nodes.hang.lock().unwrap() = Some((n, done));
            let spec = world.spec(LARGE);
            let create = ["create", "-f", &spec, "--yes"];
            let end = async {
                world.nodes.hung.notified().await;
                let (task, slot, instance) = world.nodes.victim.lock().unwrap().clone().unwrap();
                world.cloud.plant(&Change::TerminateInstance { instance: Ref::Known(instance.clone()) }).unwrap();
                (task, slot, instance)
            };
            let (ran, (task, slot, instance)) = tokio::join!(world.run(&create), end);
            let what = format!("{task:?} of {slot}, done: {done}");
            assert_eq!(ran.code, 7, "{what}\n{ran}");
            let _ = ran.says(&[&format!("node {slot}"), &format!("{instance} is"), "has ended it meanwhile"]);
            let mut runs = 0;
            loop {
                let ran = world.run(&["update", "--yes"]).await;
                runs += 1;
                match ran.code {
                    0 => break,
                    // Of a control plane that had joined the member of etcd goes first.
                    5 if slot.starts_with("control-plane") => {
                        let _ = ran.says(&["its etcd member must be removed", "kubewright rolling-update"]);
                        let ran = world.run(&["rolling-update", "--yes"]).await;
                        assert_eq!(ran.code, 0, "{what}\n{ran}");
                    }
                    code => assert!(runs < 3, "{what}: {code}\n{ran}"),
                }
            }
            assert_eq!(world.shape(), calm.shape(), "{what}");
            let _ = world.settled().await;
        }
    }
}
