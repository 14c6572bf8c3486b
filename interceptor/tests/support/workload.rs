//! Writes of all kinds, in a sequence that only the seed decides.

use etcd_client::{Client, DeleteOptions, PutOptions, Txn, TxnOp};

/// A source of writes.
#[derive(Debug)]
pub(crate) struct Workload {
    random: u64,
}

impl Workload {
    /// The sequence of this seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: seed.wrapping_mul(2).wrapping_add(1),
        }
    }

    /// A number below `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        // The constants of Knuth's MMIX generator; the high bits are the good ones.
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % bound
    }

    fn key(&mut self) -> String {
        let resource = ["pods", "leases", "configmaps"][self.below(3) as usize];
        format!(
            "/registry/{resource}/ns{}/{}",
            self.below(3),
            self.below(20)
        )
    }

    fn value(&mut self) -> Vec<u8> {
        let size = 1 + self.below(300) as usize;
        (0..size).map(|_| self.below(256) as u8).collect()
    }

    /// Makes one write: a put, a delete, a transaction of several keys, or a range delete. Some
    /// deletes find nothing, and make no revision.
    ///
    /// # Errors
    /// Whatever etcd says; the write may have been made all the same.
    pub(crate) async fn write(&mut self, client: &mut Client) -> Result<(), etcd_client::Error> {
        match self.below(10) {
            0..=5 => {
                let (key, value) = (self.key(), self.value());
                client.put(key, value, None).await?;
            }
            6 => {
                client.delete(self.key(), None).await?;
            }
            7 => {
                let lease = 1_000 + i64::try_from(self.below(1_000_000)).unwrap_or(0);
                let options = etcd_client::LeaseGrantOptions::new().with_id(lease);
                client.lease_grant(3_600, Some(options)).await?;
                let options = PutOptions::new().with_lease(lease);
                let (key, value) = (self.key(), self.value());
                client.put(key, value, Some(options)).await?;
            }
            8 => {
                let mut operations = Vec::new();
                for index in 0..=self.below(8) {
                    let key = format!("/registry/txn/{index:02}/{}", self.below(5));
                    operations.push(if self.below(4) == 0 {
                        TxnOp::delete(key, None)
                    } else {
                        TxnOp::put(key, self.value(), None)
                    });
                }
                client.txn(Txn::new().and_then(operations)).await?;
            }
            _ => {
                let prefix = format!("/registry/pods/ns{}/", self.below(3));
                client
                    .delete(prefix, Some(DeleteOptions::new().with_prefix()))
                    .await?;
            }
        }
        Ok(())
    }

    /// Makes `count` writes and returns the revision reached.
    pub(crate) async fn writes(&mut self, client: &mut Client, count: usize) -> i64 {
        for _ in 0..count {
            self.write(client).await.expect("a write");
        }
        revision(client).await
    }
}

/// etcd's current revision.
pub(crate) async fn revision(client: &mut Client) -> i64 {
    let answer = client.get("x", None).await.expect("an answer");
    answer.header().expect("a header").revision()
}
