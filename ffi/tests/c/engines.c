/* Two engines exchange datagrams in memory, on a clock that this program turns. */
#include "check.h"

enum { NODES = 2 };
static const uint64_t MS = 1000000;

typedef struct {
  shoal_engine *engine;
  shoal_address address;
  unsigned alive, dead, joined, left, told;
  char heard[SHOAL_BROADCAST_SIZE_MAX];
} node;

static node nodes[NODES];
static uint64_t now = 1000000000;
static uint64_t delivered;

static void take_events(node *self) {
  shoal_event event;
  shoal_status status;
  while ((status = shoal_engine_poll_event(self->engine, &event)) == SHOAL_OK) {
    CHECK(event.at_ns > 0 && event.at_ns <= now);
    for (size_t index = 0; index < sizeof event.reserved; index++)
      CHECK(event.reserved[index] == 0);
    self->alive += event.kind == SHOAL_EVENT_MEMBER && event.state == SHOAL_STATE_ALIVE;
    self->dead += event.kind == SHOAL_EVENT_MEMBER && event.state == SHOAL_STATE_DEAD;
    self->joined += event.kind == SHOAL_EVENT_JOINED;
    self->told += event.kind == SHOAL_EVENT_STATE && event.payload_size == 5000;
    if (event.kind == SHOAL_EVENT_BROADCAST) memcpy(self->heard, event.payload, event.payload_size);
    self->left += event.kind == SHOAL_EVENT_LEFT;
  }
  CHECK(status == SHOAL_NONE);
}

/* Carries every datagram of a node to its target at once, which answers in the same way. */
static void drain(node *self) {
  for (;;) {
    uint8_t datagram[SHOAL_DATAGRAM_SIZE_MAX];
    shoal_transmit transmit;
    shoal_status status =
        shoal_engine_poll_transmit(self->engine, now, datagram, sizeof datagram, &transmit);
    if (status == SHOAL_NONE) break;
    CHECK_STATUS(status, SHOAL_OK);
    CHECK(transmit.size > 0 && transmit.size <= sizeof datagram);
    for (int index = 0; index < NODES; index++) {
      node *peer = &nodes[index];
      if (memcmp(&peer->address, &transmit.target, sizeof transmit.target) != 0) continue;
      now += MS;
      /* A peer in the middle of its own drain takes no input: the datagram is lost, as on a
       * network. */
      if (shoal_engine_handle_datagram(peer->engine, now, &self->address, datagram,
                                       transmit.size) == SHOAL_OK) {
        delivered++;
        drain(peer);
      }
    }
  }
  take_events(self);
}

static void run_until(uint64_t end) {
  while (now < end) {
    uint64_t next = end;
    for (int index = 0; index < NODES; index++) {
      uint64_t deadline;
      shoal_status status = shoal_engine_timeout_ns(nodes[index].engine, &deadline);
      CHECK(status == SHOAL_OK || status == SHOAL_NONE);
      if (status == SHOAL_OK && deadline < next) next = deadline;
    }
    now = next > now ? next : now + 1;
    for (int index = 0; index < NODES; index++) {
      CHECK_STATUS(shoal_engine_handle_timeout(nodes[index].engine, now), SHOAL_OK);
      drain(&nodes[index]);
    }
  }
}

static void start(int number, const char *address) {
  shoal_secret secret = test_secret();
  shoal_config config = test_config(&secret);
  node *self = &nodes[number];
  self->address = test_address(address);
  config.advertise = self->address;
  config.generation = 1;
  config.role = number == 0 ? SHOAL_ROLE_GATE : SHOAL_ROLE_WORKER;
  strcpy(config.datacenter, number == 0 ? "east" : "west");
  CHECK_STATUS(shoal_engine_new(&config, 7 + (uint64_t)number, now, &self->engine, NULL, 0),
               SHOAL_OK);
}

static void members_and_round_trips(void) {
  shoal_member members[3], member;
  shoal_rtt rtt;
  shoal_coordinate coordinate;
  size_t count = 0;
  memset(members, 0xff, sizeof members);
  CHECK_STATUS(shoal_engine_members(nodes[0].engine, now, members, 3, &count), SHOAL_OK);
  CHECK(count == 2);
  CHECK(memcmp(&members[0].address, &nodes[0].address, sizeof(shoal_address)) == 0);
  CHECK(memcmp(&members[1].address, &nodes[1].address, sizeof(shoal_address)) == 0);
  CHECK(members[2].role == 0xff);
  CHECK(members[1].state == SHOAL_STATE_ALIVE && members[1].role == SHOAL_ROLE_WORKER);
  CHECK(strcmp(members[1].datacenter, "west") == 0 && members[1].generation == 1);
  CHECK(members[1].has_rtt == 1 && members[1].has_coordinate == 1);

  count = 0;
  CHECK_STATUS(shoal_engine_members(nodes[0].engine, now, NULL, 0, &count), SHOAL_OK);
  CHECK(count == 2);
  CHECK_STATUS(shoal_engine_member(nodes[0].engine, now, &nodes[1].address, &member), SHOAL_OK);
  CHECK(memcmp(&member, &members[1], sizeof member) == 0);
  CHECK_STATUS(shoal_engine_rtt(nodes[0].engine, now, &nodes[1].address, &rtt), SHOAL_OK);
  CHECK(rtt.ms > 0 && rtt.ms < 50 && rtt.upper_ms >= rtt.ms && rtt.quality > 0);
  CHECK_STATUS(shoal_engine_coordinate(nodes[0].engine, &coordinate), SHOAL_OK);
  CHECK(coordinate.error > 0 && coordinate.error <= 1.5);

  shoal_address stranger = test_address("10.9.9.9:1");
  rtt.ms = -1;
  CHECK_STATUS(shoal_engine_rtt(nodes[0].engine, now, &stranger, &rtt), SHOAL_NONE);
  CHECK_STATUS(shoal_engine_member(nodes[0].engine, now, &stranger, &member), SHOAL_NONE);
  CHECK(rtt.ms == -1);
}

static void undrained_inputs_are_refused(void) {
  uint8_t datagram[SHOAL_DATAGRAM_SIZE_MAX] = {0};
  char detail[SHOAL_DETAIL_SIZE];
  shoal_engine *engine = nodes[0].engine;
  now += 2000 * MS;
  CHECK_STATUS(shoal_engine_handle_timeout(engine, now), SHOAL_OK);
  CHECK_STATUS(shoal_engine_handle_timeout(engine, now), SHOAL_UNDRAINED);
  CHECK_STATUS(shoal_engine_leave(engine, now), SHOAL_UNDRAINED);
  CHECK_STATUS(shoal_engine_join(engine, now, &nodes[1].address, 1), SHOAL_UNDRAINED);
  CHECK_STATUS(shoal_engine_handle_datagram(engine, now, &nodes[1].address, datagram, 9),
               SHOAL_UNDRAINED);
  CHECK_STATUS(shoal_engine_error(engine, detail, sizeof detail), SHOAL_OK);
  CHECK(strstr(detail, "shoal_engine_poll_transmit") != NULL);
  CHECK_STATUS(shoal_engine_error(engine, detail, 5), SHOAL_OK);
  CHECK(strcmp(detail, "take") == 0);
  drain(&nodes[0]);
  CHECK_STATUS(shoal_engine_handle_timeout(engine, now), SHOAL_OK);
  drain(&nodes[0]);
}

static void bad_datagrams_are_counted(void) {
  static uint8_t datagram[65536];
  shoal_counter stats[128];
  size_t count = 0;
  uint64_t received = 0, foreign = 0;
  for (size_t size = 0; size <= 65535; size = size * 3 + 1) {
    CHECK_STATUS(
        shoal_engine_handle_datagram(nodes[0].engine, now, &nodes[1].address, datagram, size),
        SHOAL_OK);
  }
  CHECK_STATUS(
      shoal_engine_handle_datagram(nodes[0].engine, now, &nodes[1].address, datagram, 65536),
      SHOAL_INVALID_ARGUMENT);
  CHECK_STATUS(
      shoal_engine_handle_datagram(nodes[0].engine, now, &nodes[1].address, datagram, SIZE_MAX),
      SHOAL_INVALID_ARGUMENT);
  CHECK_STATUS(shoal_engine_stats(nodes[0].engine, stats, 128, &count), SHOAL_OK);
  CHECK(count > 10 && count <= 128);
  for (size_t index = 0; index < count; index++) {
    if (strcmp(stats[index].name, "datagrams_received") == 0) received = stats[index].value;
    if (strncmp(stats[index].name, "dropped_", 8) == 0) foreign += stats[index].value;
  }
  CHECK(received > 11 && foreign >= 11);
}

static void states_and_broadcasts_arrive(void) {
  static uint8_t state[5000], copy[5000];
  static const char greeting[] = "hello from the west";
  size_t size = 0;
  memset(state, 7, sizeof state);
  CHECK_STATUS(shoal_engine_state(nodes[0].engine, &nodes[1].address, copy, sizeof copy, &size),
               SHOAL_NONE);
  CHECK_STATUS(shoal_engine_set_state(nodes[1].engine, now, state, sizeof state), SHOAL_OK);
  drain(&nodes[1]);
  CHECK_STATUS(
      shoal_engine_broadcast(nodes[1].engine, now, (const uint8_t *)greeting, sizeof greeting),
      SHOAL_OK);
  drain(&nodes[1]);
  run_until(now + 5000 * MS);
  CHECK(nodes[0].told == 1 && strcmp(nodes[0].heard, greeting) == 0);
  CHECK_STATUS(shoal_engine_state(nodes[0].engine, &nodes[1].address, copy, sizeof copy - 1, &size),
               SHOAL_OK);
  CHECK(size == sizeof state && copy[0] == 0);
  CHECK_STATUS(shoal_engine_state(nodes[0].engine, &nodes[1].address, copy, sizeof copy, &size),
               SHOAL_OK);
  CHECK(size == sizeof state && memcmp(copy, state, sizeof state) == 0);
  CHECK_STATUS(shoal_engine_set_state(nodes[1].engine, now, state, 16385), SHOAL_STATE_TOO_LARGE);
  CHECK_STATUS(shoal_engine_broadcast(nodes[1].engine, now, state, 1025),
               SHOAL_BROADCAST_TOO_LARGE);
}

static void leaving_is_final(void) {
  uint64_t deadline = 5;
  CHECK_STATUS(shoal_engine_leave(nodes[1].engine, now), SHOAL_OK);
  drain(&nodes[1]);
  run_until(now + 10000 * MS);
  CHECK(nodes[1].left == 1);
  CHECK_STATUS(shoal_engine_leave(nodes[1].engine, now), SHOAL_LEAVING);
  CHECK_STATUS(shoal_engine_join(nodes[1].engine, now, &nodes[0].address, 1), SHOAL_LEAVING);
  CHECK_STATUS(shoal_engine_timeout_ns(nodes[1].engine, &deadline), SHOAL_NONE);
  CHECK(deadline == 5);
}

static void secrets_can_rotate(void) {
  static const uint8_t other[] = "another secret of this cluster";
  shoal_secret ring[5] = {
      test_secret(), {other, sizeof other - 1}, test_secret(), test_secret(), test_secret()};
  shoal_secret brief = {other, 15};
  for (int index = 0; index < NODES; index++) {
    CHECK_STATUS(shoal_engine_set_secrets(nodes[index].engine, ring, 2), SHOAL_OK);
  }
  for (int index = 0; index < NODES; index++) {
    CHECK_STATUS(shoal_engine_set_secrets(nodes[index].engine, ring + 1, 1), SHOAL_OK);
  }
  CHECK_STATUS(shoal_engine_set_secrets(nodes[0].engine, ring, 5), SHOAL_INVALID_SECRET_COUNT);
  CHECK_STATUS(shoal_engine_set_secrets(nodes[0].engine, ring, 0), SHOAL_INVALID_SECRET_COUNT);
  CHECK_STATUS(shoal_engine_set_secrets(nodes[0].engine, &brief, 1), SHOAL_INVALID_SECRET_SIZE);
  run_until(now + 5000 * MS);
  CHECK(nodes[0].dead == 0 && nodes[1].dead == 0);
}

int main(void) {
  start(0, "10.0.0.1:9000");
  start(1, "[fd00::2]:9000");
  CHECK_STATUS(shoal_engine_join(nodes[1].engine, now, &nodes[0].address, 1), SHOAL_OK);
  drain(&nodes[1]);
  run_until(now + 5000 * MS);
  CHECK(nodes[1].joined == 1 && nodes[0].alive >= 1 && nodes[1].alive >= 1);
  CHECK(delivered > 10);
  members_and_round_trips();
  states_and_broadcasts_arrive();
  secrets_can_rotate();
  bad_datagrams_are_counted();
  undrained_inputs_are_refused();
  leaving_is_final();
  for (int index = 0; index < NODES; index++) shoal_engine_free(nodes[index].engine);
  return 0;
}
