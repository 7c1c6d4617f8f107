/* The rule on threads: one thread takes events and stops the node, others ask whatever they like
 * meanwhile. */
#include "check.h"

#include <poll.h>
#include <pthread.h>

enum { ASKERS = 2, ROUNDS = 300 };

static shoal_node *node;
static shoal_address addresses[2];

static void *ask(void *unused) {
  (void)unused;
  for (int round = 0; round < ROUNDS; round++) {
    shoal_member members[4];
    shoal_counter stats[4];
    shoal_rtt rtt;
    char detail[SHOAL_DETAIL_SIZE];
    size_t count = 0;
    shoal_status status = shoal_node_members(node, members, 4, &count);
    CHECK(status == SHOAL_OK || status == SHOAL_STOPPED);
    CHECK(status == SHOAL_STOPPED || (count >= 1 && count <= 2));
    status = shoal_node_rtt(node, &addresses[1], &rtt);
    CHECK(status == SHOAL_OK || status == SHOAL_NONE || status == SHOAL_STOPPED);
    status = shoal_node_stats(node, stats, 4, &count);
    CHECK(status == SHOAL_OK || status == SHOAL_STOPPED);
    status = shoal_node_join(node, &addresses[1], 1);
    CHECK(status == SHOAL_OK || status == SHOAL_STOPPED);
    CHECK_STATUS(shoal_node_error(node, detail, sizeof detail), SHOAL_OK);
  }
  return NULL;
}

int main(void) {
  shoal_secret secret = test_secret();
  shoal_config config = test_config(&secret);
  shoal_node *peer = NULL;
  pthread_t threads[ASKERS];
  config.bind = test_address("127.0.0.1:0");
  config.probe_interval_ms = 20;
  CHECK_STATUS(shoal_node_start(&config, &node, NULL, 0), SHOAL_OK);
  CHECK_STATUS(shoal_node_start(&config, &peer, NULL, 0), SHOAL_OK);
  CHECK_STATUS(shoal_node_address(node, &addresses[0]), SHOAL_OK);
  CHECK_STATUS(shoal_node_address(peer, &addresses[1]), SHOAL_OK);
  CHECK_STATUS(shoal_node_join(peer, &addresses[0], 1), SHOAL_OK);
  for (int index = 0; index < ASKERS; index++) {
    CHECK(pthread_create(&threads[index], NULL, ask, NULL) == 0);
  }
  for (int round = 0; round < 20; round++) {
    struct pollfd descriptor = {shoal_node_event_fd(node), POLLIN, 0};
    shoal_event event;
    poll(&descriptor, 1, 20);
    while (shoal_node_poll_event(node, &event) == SHOAL_OK) CHECK(event.kind != 0);
  }
  CHECK_STATUS(shoal_node_stop(node), SHOAL_OK);
  for (int index = 0; index < ASKERS; index++) CHECK(pthread_join(threads[index], NULL) == 0);
  shoal_node_free(node);
  shoal_node_free(peer);
  return 0;
}
