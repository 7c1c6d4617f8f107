/* Two nodes over loopback: event descriptors in a poll loop, members, leaving, stopping, starting
 * failures. */
#include "check.h"

#include <poll.h>
#include <time.h>

static shoal_node *start(const char *bind) {
  shoal_secret secret = test_secret();
  shoal_config config = test_config(&secret);
  shoal_node *node = NULL;
  char detail[SHOAL_DETAIL_SIZE] = "";
  shoal_status status;
  config.bind = test_address(bind);
  status = shoal_node_start(&config, &node, detail, sizeof detail);
  if (status != SHOAL_OK) fprintf(stderr, "%s\n", detail);
  CHECK_STATUS(status, SHOAL_OK);
  return node;
}

static shoal_address address_of(const shoal_node *node) {
  shoal_address address;
  CHECK_STATUS(shoal_node_address(node, &address), SHOAL_OK);
  return address;
}

static uint64_t now_ms(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

/* Waits for an event of this kind, and for this state if it is one of a member. */
static shoal_event wait_for(const shoal_node *node, uint32_t kind, uint8_t state) {
  struct pollfd descriptor = {shoal_node_event_fd(node), POLLIN, 0};
  uint64_t end = now_ms() + 20000;
  CHECK(descriptor.fd >= 0);
  while (now_ms() < end) {
    shoal_event event;
    while (shoal_node_poll_event(node, &event) == SHOAL_OK) {
      if (event.kind == kind && (kind != SHOAL_EVENT_MEMBER || event.state == state)) return event;
    }
    CHECK(poll(&descriptor, 1, 5000) >= 0);
  }
  fprintf(stderr, "event %u did not come\n", (unsigned)kind);
  exit(1);
}

static void knows_each_other(const shoal_node *node, const shoal_node *peer) {
  shoal_address peer_address = address_of(peer);
  shoal_member members[8], member;
  shoal_counter stats[128];
  shoal_coordinate coordinate;
  shoal_rtt rtt;
  size_t count = 0;
  uint64_t end = now_ms() + 20000;
  shoal_status status;
  CHECK_STATUS(shoal_node_members(node, members, 8, &count), SHOAL_OK);
  CHECK(count == 2);
  CHECK_STATUS(shoal_node_member(node, &peer_address, &member), SHOAL_OK);
  CHECK(member.state == SHOAL_STATE_ALIVE && member.generation > 0);
  while ((status = shoal_node_rtt(node, &peer_address, &rtt)) == SHOAL_NONE && now_ms() < end) {
    poll(NULL, 0, 10);
  }
  CHECK_STATUS(status, SHOAL_OK);
  CHECK(rtt.ms > 0 && rtt.ms < 5000);
  CHECK_STATUS(shoal_node_coordinate(node, &coordinate), SHOAL_OK);
  CHECK(coordinate.error > 0);
  CHECK_STATUS(shoal_node_stats(node, stats, 128, &count), SHOAL_OK);
  CHECK(count > 10 && strcmp(stats[0].name, "datagrams_received") == 0 && stats[0].value > 0);
}

static void a_taken_address_is_refused(const shoal_node *node) {
  shoal_secret secret = test_secret();
  shoal_config config = test_config(&secret);
  shoal_node *other = NULL;
  char detail[SHOAL_DETAIL_SIZE] = "";
  config.bind = address_of(node);
  CHECK_STATUS(shoal_node_start(&config, &other, detail, sizeof detail), SHOAL_ADDRESS_IN_USE);
  CHECK(strstr(detail, "in use") != NULL);
  CHECK_STATUS(shoal_node_start(&config, &other, NULL, 0), SHOAL_ADDRESS_IN_USE);
  memset(detail, 'x', sizeof detail);
  CHECK_STATUS(shoal_node_start(&config, &other, detail, 7), SHOAL_ADDRESS_IN_USE);
  CHECK(strcmp(detail, "cannot") == 0 && detail[7] == 'x');
  config.bind = test_address("0.0.0.0:0");
  CHECK_STATUS(shoal_node_start(&config, &other, NULL, 0), SHOAL_ADVERTISE_UNKNOWN);
  config.bind = test_address("192.0.2.77:9");
  CHECK_STATUS(shoal_node_start(&config, &other, NULL, 0), SHOAL_ADDRESS_NOT_AVAILABLE);
  config.probe_interval_ms = 1;
  config.bind = test_address("127.0.0.1:0");
  CHECK_STATUS(shoal_node_start(&config, &other, detail, sizeof detail), SHOAL_INVALID_SETTING);
  CHECK(strstr(detail, "probe_interval_ms is 1") != NULL);
  CHECK(other == NULL);
}

static void a_stopped_node_says_so(shoal_node *node) {
  shoal_address address = address_of(node);
  shoal_event event;
  shoal_node *successor;
  char text[SHOAL_ADDRESS_TEXT_SIZE];
  char detail[SHOAL_DETAIL_SIZE];
  size_t count = 77;
  int descriptor = shoal_node_event_fd(node);
  CHECK_STATUS(shoal_node_stop(node), SHOAL_OK);
  CHECK_STATUS(shoal_node_stop(node), SHOAL_STOPPED);
  CHECK_STATUS(shoal_node_error(node, detail, sizeof detail), SHOAL_OK);
  CHECK(strstr(detail, "stopped") != NULL);
  CHECK_STATUS(shoal_node_poll_event(node, &event), SHOAL_STOPPED);
  CHECK_STATUS(shoal_node_members(node, NULL, 0, &count), SHOAL_STOPPED);
  CHECK(count == 77);
  CHECK_STATUS(shoal_node_join(node, &address, 1), SHOAL_STOPPED);
  CHECK_STATUS(shoal_node_leave(node), SHOAL_STOPPED);
  CHECK(shoal_node_event_fd(node) == descriptor);
  /* The address is free again, and the descriptor is not given to anyone else. */
  CHECK_STATUS(shoal_address_format(&address, text, sizeof text), SHOAL_OK);
  successor = start(text);
  CHECK(shoal_node_event_fd(successor) != descriptor);
  shoal_node_free(successor);
  shoal_node_free(node);
}

static void nodes_share_a_thread(void) {
  shoal_secret secret = test_secret();
  shoal_config config = test_config(&secret);
  shoal_thread *thread = NULL;
  shoal_node *pair[2] = {NULL, NULL};
  shoal_address address;
  config.bind = test_address("127.0.0.1:0");
  CHECK_STATUS(shoal_thread_start(SHOAL_BACKEND_POLL, SHOAL_CPU_ANY, &thread, NULL, 0), SHOAL_OK);
  for (int index = 0; index < 2; index++) {
    CHECK_STATUS(shoal_node_start_on(thread, &config, &pair[index], NULL, 0), SHOAL_OK);
  }
  shoal_thread_free(thread);
  CHECK(strcmp(shoal_node_backend(pair[0]), "poll") == 0);
  address = address_of(pair[0]);
  CHECK_STATUS(shoal_node_join(pair[1], &address, 1), SHOAL_OK);
  wait_for(pair[1], SHOAL_EVENT_JOINED, 0);
  shoal_node_free(pair[0]);
  shoal_node_free(pair[1]);
}

int main(void) {
  shoal_node *one = start("127.0.0.1:0");
  shoal_node *two = start("127.0.0.1:0");
  shoal_address first = address_of(one), second = address_of(two), seeds[65];
  shoal_secret secret = test_secret();
  shoal_event event;
  uint64_t unix_ms = 0;
  char refusal[SHOAL_DETAIL_SIZE];

  for (int index = 0; index < 65; index++) seeds[index] = first;
  CHECK_STATUS(shoal_node_join(two, seeds, 65), SHOAL_TOO_MANY_SEEDS);
  seeds[3].port = 0;
  CHECK_STATUS(shoal_node_join(two, seeds, 4), SHOAL_INVALID_SEED);
  CHECK_STATUS(shoal_node_join(two, &first, 1), SHOAL_OK);
  event = wait_for(two, SHOAL_EVENT_JOINED, 0);
  CHECK(memcmp(&event.address, &first, sizeof first) == 0);
  CHECK_STATUS(shoal_node_unix_ms(two, event.at_ns, &unix_ms), SHOAL_OK);
  CHECK(unix_ms / 1000 + 60 > (uint64_t)time(NULL) && unix_ms / 1000 < (uint64_t)time(NULL) + 60);
  event = wait_for(one, SHOAL_EVENT_MEMBER, SHOAL_STATE_ALIVE);
  CHECK(memcmp(&event.address, &second, sizeof second) == 0);
  knows_each_other(one, two);
  CHECK(strcmp(shoal_node_backend(one), "none") != 0);
  CHECK_STATUS(shoal_node_backend_refusal(one, refusal, sizeof refusal), SHOAL_OK);
  CHECK_STATUS(shoal_node_set_secrets(one, &secret, 1), SHOAL_OK);
  CHECK_STATUS(shoal_node_set_secrets(one, &secret, 0), SHOAL_INVALID_SECRET_COUNT);

  CHECK_STATUS(shoal_node_leave(two), SHOAL_OK);
  wait_for(two, SHOAL_EVENT_LEFT, 0);
  CHECK_STATUS(shoal_node_leave(two), SHOAL_LEAVING);
  shoal_node_free(two);
  wait_for(one, SHOAL_EVENT_MEMBER, SHOAL_STATE_LEFT);

  a_taken_address_is_refused(one);
  a_stopped_node_says_so(one);
  nodes_share_a_thread();
  return 0;
}
