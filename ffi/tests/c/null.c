/* Every function with NULL for each of its pointers, with sizes of zero and of everything, and with
 * settings of a wrong size: a status each time, nothing written, never a crash. The runner checks
 * that every exported name is here. */
#include "check.h"

#include <sys/socket.h>

#define REFUSES_NULL(call) CHECK_STATUS(call, SHOAL_NULL_POINTER)

static shoal_secret secret;
static shoal_config config;
static shoal_address address;

static void values(void) {
  char text[SHOAL_ADDRESS_TEXT_SIZE];
  struct sockaddr_storage storage;
  struct sockaddr *any = (struct sockaddr *)&storage;
  size_t size;
  CHECK(shoal_abi_version() > 0 && shoal_version_string() != NULL);
  CHECK(shoal_status_text(0) != NULL && shoal_role_name(0) != NULL && shoal_state_name(0) != NULL);
  memset(&storage, 0, sizeof storage);

  REFUSES_NULL(shoal_address_parse(NULL, &address));
  REFUSES_NULL(shoal_address_parse("1.2.3.4:5", NULL));
  REFUSES_NULL(shoal_address_format(NULL, text, sizeof text));
  REFUSES_NULL(shoal_address_format(&address, NULL, sizeof text));
  REFUSES_NULL(shoal_address_format(&address, NULL, 0));
  CHECK_STATUS(shoal_address_format(&address, text, 0), SHOAL_BUFFER_TOO_SMALL);
  REFUSES_NULL(shoal_address_from_sockaddr(NULL, sizeof storage, &address));
  REFUSES_NULL(shoal_address_from_sockaddr(any, sizeof storage, NULL));
  REFUSES_NULL(shoal_address_to_sockaddr(NULL, AF_INET, any, sizeof storage, &size));
  REFUSES_NULL(shoal_address_to_sockaddr(&address, AF_INET, NULL, sizeof storage, &size));
  REFUSES_NULL(shoal_address_to_sockaddr(&address, AF_INET, any, sizeof storage, NULL));

  REFUSES_NULL((shoal_config_init)(NULL));
  REFUSES_NULL(shoal_config_init_sized(NULL, sizeof config));
  CHECK_STATUS(shoal_config_init_sized(&config, 0), SHOAL_INVALID_STRUCT_SIZE);
  CHECK_STATUS(shoal_config_init_sized(&config, SIZE_MAX), SHOAL_INVALID_STRUCT_SIZE);
  CHECK_STATUS(shoal_config_init_sized(&config, sizeof config - 1), SHOAL_INVALID_STRUCT_SIZE);
}

static void settings(void) {
  static const size_t wrong[] = {0, 1, 8, sizeof config - 1, sizeof config + 1, 1 << 20, SIZE_MAX};
  shoal_engine *engine = NULL;
  shoal_node *node = NULL;
  shoal_config broken = config;
  for (size_t index = 0; index < sizeof wrong / sizeof *wrong; index++) {
    broken.struct_size = wrong[index];
    CHECK_STATUS(shoal_engine_new(&broken, 1, 1, &engine, NULL, 0), SHOAL_INVALID_STRUCT_SIZE);
    CHECK_STATUS(shoal_node_start(&broken, &node, NULL, 0), SHOAL_INVALID_STRUCT_SIZE);
  }
  broken = config;
  broken.secrets = NULL;
  REFUSES_NULL(shoal_engine_new(&broken, 1, 1, &engine, NULL, 0));
  broken.secret_count = SIZE_MAX;
  CHECK_STATUS(shoal_engine_new(&broken, 1, 1, &engine, NULL, 0), SHOAL_INVALID_SECRET_COUNT);
  secret.bytes = NULL;
  REFUSES_NULL(shoal_engine_new(&config, 1, 1, &engine, NULL, 0));
  secret.size = SIZE_MAX;
  CHECK_STATUS(shoal_engine_new(&config, 1, 1, &engine, NULL, 0), SHOAL_INVALID_SECRET_SIZE);
  secret = test_secret();
  CHECK(engine == NULL && node == NULL);
}

static void engines(void) {
  uint8_t datagram[SHOAL_DATAGRAM_SIZE_MAX] = {0};
  char text[SHOAL_DETAIL_SIZE];
  shoal_engine *engine = NULL;
  shoal_member member;
  shoal_transmit transmit;
  shoal_event event;
  shoal_rtt rtt;
  shoal_coordinate coordinate;
  shoal_counter counter;
  uint64_t deadline;
  size_t count;

  REFUSES_NULL(shoal_engine_new(NULL, 1, 1, &engine, text, sizeof text));
  CHECK(strcmp(text, "config is NULL") == 0);
  REFUSES_NULL(shoal_engine_new(&config, 1, 1, NULL, text, sizeof text));
  REFUSES_NULL(shoal_engine_new(&config, 1, 1, NULL, NULL, SIZE_MAX));
  REFUSES_NULL(shoal_engine_new(&config, 1, 1, NULL, text, 0));
  CHECK_STATUS(shoal_engine_new(&config, 1, 1, &engine, NULL, SIZE_MAX), SHOAL_OK);
  shoal_engine_free(NULL);

  REFUSES_NULL(shoal_engine_error(NULL, text, sizeof text));
  REFUSES_NULL(shoal_engine_error(engine, NULL, sizeof text));
  CHECK_STATUS(shoal_engine_error(engine, text, 0), SHOAL_BUFFER_TOO_SMALL);
  CHECK_STATUS(shoal_engine_error(engine, text, SIZE_MAX), SHOAL_OK);
  CHECK(strcmp(text, "") == 0);

  REFUSES_NULL(shoal_engine_handle_datagram(NULL, 1, &address, datagram, 9));
  REFUSES_NULL(shoal_engine_handle_datagram(engine, 1, NULL, datagram, 9));
  REFUSES_NULL(shoal_engine_handle_datagram(engine, 1, &address, NULL, 9));
  CHECK_STATUS(shoal_engine_error(engine, text, sizeof text), SHOAL_OK);
  CHECK(strcmp(text, "datagram is NULL") == 0);
  REFUSES_NULL(shoal_engine_handle_datagram(engine, 1, &address, NULL, 0));
  CHECK_STATUS(shoal_engine_handle_datagram(engine, 1, &address, datagram, 0), SHOAL_OK);
  CHECK_STATUS(shoal_engine_handle_datagram(engine, 1, &address, datagram, SIZE_MAX),
               SHOAL_INVALID_ARGUMENT);
  REFUSES_NULL(shoal_engine_handle_timeout(NULL, 1));
  REFUSES_NULL(shoal_engine_timeout_ns(NULL, &deadline));
  REFUSES_NULL(shoal_engine_timeout_ns(engine, NULL));
  REFUSES_NULL(shoal_engine_poll_transmit(NULL, 1, datagram, sizeof datagram, &transmit));
  REFUSES_NULL(shoal_engine_poll_transmit(engine, 1, NULL, sizeof datagram, &transmit));
  REFUSES_NULL(shoal_engine_poll_transmit(engine, 1, datagram, sizeof datagram, NULL));
  CHECK_STATUS(shoal_engine_poll_transmit(engine, 1, datagram, 0, &transmit),
               SHOAL_BUFFER_TOO_SMALL);
  CHECK_STATUS(shoal_engine_poll_transmit(engine, 1, datagram, sizeof datagram - 1, &transmit),
               SHOAL_BUFFER_TOO_SMALL);
  CHECK_STATUS(shoal_engine_poll_transmit(engine, 1, datagram, SIZE_MAX, &transmit), SHOAL_NONE);
  REFUSES_NULL(shoal_engine_poll_event(NULL, &event));
  REFUSES_NULL(shoal_engine_poll_event(engine, NULL));
  REFUSES_NULL(shoal_engine_join(NULL, 1, &address, 1));
  REFUSES_NULL(shoal_engine_join(engine, 1, NULL, 1));
  CHECK_STATUS(shoal_engine_join(engine, 1, NULL, 0), SHOAL_OK);
  CHECK_STATUS(shoal_engine_join(engine, 1, &address, SIZE_MAX), SHOAL_TOO_MANY_SEEDS);
  REFUSES_NULL(shoal_engine_leave(NULL, 1));
  REFUSES_NULL(shoal_engine_set_state(NULL, 1, datagram, 9));
  REFUSES_NULL(shoal_engine_set_state(engine, 1, NULL, 9));
  CHECK_STATUS(shoal_engine_set_state(engine, 1, NULL, 0), SHOAL_OK);
  CHECK_STATUS(shoal_engine_set_state(engine, 1, datagram, SIZE_MAX), SHOAL_STATE_TOO_LARGE);
  REFUSES_NULL(shoal_engine_state(NULL, &address, datagram, sizeof datagram, &count));
  REFUSES_NULL(shoal_engine_state(engine, NULL, datagram, sizeof datagram, &count));
  REFUSES_NULL(shoal_engine_state(engine, &address, NULL, sizeof datagram, &count));
  REFUSES_NULL(shoal_engine_state(engine, &address, datagram, sizeof datagram, NULL));
  CHECK_STATUS(shoal_engine_state(engine, &address, NULL, 0, &count), SHOAL_OK);
  CHECK_STATUS(shoal_engine_state(engine, &address, datagram, SIZE_MAX, &count), SHOAL_OK);
  REFUSES_NULL(shoal_engine_broadcast(NULL, 1, datagram, 9));
  REFUSES_NULL(shoal_engine_broadcast(engine, 1, NULL, 9));
  CHECK_STATUS(shoal_engine_broadcast(engine, 1, NULL, 0), SHOAL_OK);
  CHECK_STATUS(shoal_engine_broadcast(engine, 1, datagram, SIZE_MAX), SHOAL_BROADCAST_TOO_LARGE);
  REFUSES_NULL(shoal_engine_set_secrets(NULL, &secret, 1));
  REFUSES_NULL(shoal_engine_set_secrets(engine, NULL, 1));
  CHECK_STATUS(shoal_engine_set_secrets(engine, &secret, SIZE_MAX), SHOAL_INVALID_SECRET_COUNT);
  REFUSES_NULL(shoal_engine_members(NULL, 1, &member, 1, &count));
  REFUSES_NULL(shoal_engine_members(engine, 1, NULL, 1, &count));
  REFUSES_NULL(shoal_engine_members(engine, 1, &member, 1, NULL));
  CHECK_STATUS(shoal_engine_members(engine, 1, NULL, 0, &count), SHOAL_OK);
  CHECK_STATUS(shoal_engine_members(engine, 1, &member, SIZE_MAX, &count), SHOAL_OK);
  REFUSES_NULL(shoal_engine_member(NULL, 1, &address, &member));
  REFUSES_NULL(shoal_engine_member(engine, 1, NULL, &member));
  REFUSES_NULL(shoal_engine_member(engine, 1, &address, NULL));
  REFUSES_NULL(shoal_engine_rtt(NULL, 1, &address, &rtt));
  REFUSES_NULL(shoal_engine_rtt(engine, 1, NULL, &rtt));
  REFUSES_NULL(shoal_engine_rtt(engine, 1, &address, NULL));
  REFUSES_NULL(shoal_engine_coordinate(NULL, &coordinate));
  REFUSES_NULL(shoal_engine_coordinate(engine, NULL));
  REFUSES_NULL(shoal_engine_stats(NULL, &counter, 1, &count));
  REFUSES_NULL(shoal_engine_stats(engine, NULL, 1, &count));
  REFUSES_NULL(shoal_engine_stats(engine, &counter, 1, NULL));
  CHECK_STATUS(shoal_engine_stats(engine, &counter, 1, &count), SHOAL_OK);
  shoal_engine_free(engine);
}

static void nodes(void) {
  char text[SHOAL_DETAIL_SIZE];
  shoal_thread *thread = NULL;
  shoal_node *node = NULL;
  shoal_member member;
  shoal_event event;
  shoal_rtt rtt;
  shoal_coordinate coordinate;
  shoal_counter counter;
  shoal_config own = config;
  uint64_t unix_ms;
  size_t count;
  memset(&own.advertise, 0, sizeof own.advertise);
  own.bind = test_address("127.0.0.1:0");

  REFUSES_NULL(shoal_thread_start(SHOAL_BACKEND_AUTO, SHOAL_CPU_ANY, NULL, text, sizeof text));
  CHECK_STATUS(shoal_thread_start(99, SHOAL_CPU_ANY, &thread, NULL, 0), SHOAL_INVALID_SETTING);
  CHECK_STATUS(shoal_thread_start(SHOAL_BACKEND_AUTO, INT32_MIN, &thread, NULL, 0),
               SHOAL_INVALID_SETTING);
  CHECK_STATUS(shoal_thread_start(SHOAL_BACKEND_AUTO, INT32_MAX, &thread, NULL, 0),
               SHOAL_PIN_FAILED);
  CHECK_STATUS(shoal_thread_start(test_backend(), SHOAL_CPU_ANY, &thread, NULL, 0), SHOAL_OK);
  shoal_thread_free(NULL);
  REFUSES_NULL(shoal_node_start_on(NULL, &own, &node, NULL, 0));
  REFUSES_NULL(shoal_node_start_on(thread, NULL, &node, NULL, 0));
  REFUSES_NULL(shoal_node_start_on(thread, &own, NULL, NULL, 0));
  REFUSES_NULL(shoal_node_start(NULL, &node, NULL, 0));
  REFUSES_NULL(shoal_node_start(&own, NULL, NULL, 0));
  CHECK_STATUS(shoal_node_start_on(thread, &own, &node, NULL, SIZE_MAX), SHOAL_OK);
  shoal_thread_free(thread);
  shoal_node_free(NULL);

  REFUSES_NULL(shoal_node_stop(NULL));
  REFUSES_NULL(shoal_node_error(NULL, text, sizeof text));
  REFUSES_NULL(shoal_node_error(node, NULL, sizeof text));
  CHECK_STATUS(shoal_node_error(node, text, 0), SHOAL_BUFFER_TOO_SMALL);
  CHECK(shoal_node_event_fd(NULL) == -1);
  REFUSES_NULL(shoal_node_poll_event(NULL, &event));
  REFUSES_NULL(shoal_node_poll_event(node, NULL));
  REFUSES_NULL(shoal_node_join(NULL, &address, 1));
  REFUSES_NULL(shoal_node_join(node, NULL, 1));
  CHECK_STATUS(shoal_node_join(node, &address, SIZE_MAX), SHOAL_TOO_MANY_SEEDS);
  REFUSES_NULL(shoal_node_leave(NULL));
  REFUSES_NULL(shoal_node_set_state(NULL, (const uint8_t *)text, 9));
  REFUSES_NULL(shoal_node_set_state(node, NULL, 9));
  CHECK_STATUS(shoal_node_set_state(node, NULL, 0), SHOAL_OK);
  CHECK_STATUS(shoal_node_set_state(node, (const uint8_t *)text, SIZE_MAX), SHOAL_STATE_TOO_LARGE);
  REFUSES_NULL(shoal_node_state(NULL, &address, (uint8_t *)text, sizeof text, &count));
  REFUSES_NULL(shoal_node_state(node, NULL, (uint8_t *)text, sizeof text, &count));
  REFUSES_NULL(shoal_node_state(node, &address, NULL, sizeof text, &count));
  REFUSES_NULL(shoal_node_state(node, &address, (uint8_t *)text, sizeof text, NULL));
  REFUSES_NULL(shoal_node_broadcast(NULL, (const uint8_t *)text, 9));
  REFUSES_NULL(shoal_node_broadcast(node, NULL, 9));
  CHECK_STATUS(shoal_node_broadcast(node, (const uint8_t *)text, SIZE_MAX),
               SHOAL_BROADCAST_TOO_LARGE);
  REFUSES_NULL(shoal_node_set_secrets(NULL, &secret, 1));
  REFUSES_NULL(shoal_node_set_secrets(node, NULL, 1));
  REFUSES_NULL(shoal_node_members(NULL, &member, 1, &count));
  REFUSES_NULL(shoal_node_members(node, NULL, 1, &count));
  REFUSES_NULL(shoal_node_members(node, &member, 1, NULL));
  CHECK_STATUS(shoal_node_members(node, &member, SIZE_MAX, &count), SHOAL_OK);
  REFUSES_NULL(shoal_node_member(NULL, &address, &member));
  REFUSES_NULL(shoal_node_member(node, NULL, &member));
  REFUSES_NULL(shoal_node_member(node, &address, NULL));
  REFUSES_NULL(shoal_node_rtt(NULL, &address, &rtt));
  REFUSES_NULL(shoal_node_rtt(node, NULL, &rtt));
  REFUSES_NULL(shoal_node_rtt(node, &address, NULL));
  REFUSES_NULL(shoal_node_coordinate(NULL, &coordinate));
  REFUSES_NULL(shoal_node_coordinate(node, NULL));
  REFUSES_NULL(shoal_node_stats(NULL, &counter, 1, &count));
  REFUSES_NULL(shoal_node_stats(node, NULL, 1, &count));
  REFUSES_NULL(shoal_node_stats(node, &counter, 1, NULL));
  REFUSES_NULL(shoal_node_unix_ms(NULL, 1, &unix_ms));
  REFUSES_NULL(shoal_node_unix_ms(node, 1, NULL));
  CHECK_STATUS(shoal_node_unix_ms(node, UINT64_MAX, &unix_ms), SHOAL_OK);
  REFUSES_NULL(shoal_node_address(NULL, &address));
  REFUSES_NULL(shoal_node_address(node, NULL));
  CHECK(strcmp(shoal_node_backend(NULL), "none") == 0);
  REFUSES_NULL(shoal_node_backend_refusal(NULL, text, sizeof text));
  REFUSES_NULL(shoal_node_backend_refusal(node, NULL, sizeof text));
  shoal_node_free(node);
}

static void coordinates(void) {
  char text[SHOAL_DETAIL_SIZE];
  shoal_tracker *tracker = NULL;
  shoal_coordinate coordinate;
  shoal_coordinate_snapshot snapshot;
  shoal_rtt rtt;
  double value;

  REFUSES_NULL(shoal_coordinate_new(4, 1, NULL));
  CHECK_STATUS(shoal_coordinate_new(0, 1, &tracker), SHOAL_INVALID_ARGUMENT);
  CHECK_STATUS(shoal_coordinate_new(UINT32_MAX, 1, &tracker), SHOAL_INVALID_ARGUMENT);
  CHECK_STATUS(shoal_coordinate_new(4, 1, &tracker), SHOAL_OK);
  shoal_coordinate_free(NULL);
  REFUSES_NULL(shoal_coordinate_own(NULL, &coordinate));
  REFUSES_NULL(shoal_coordinate_own(tracker, NULL));
  CHECK_STATUS(shoal_coordinate_own(tracker, &coordinate), SHOAL_OK);
  REFUSES_NULL(shoal_coordinate_error(NULL, text, sizeof text));
  REFUSES_NULL(shoal_coordinate_error(tracker, NULL, sizeof text));
  REFUSES_NULL(shoal_coordinate_update(NULL, 0, &coordinate, 1, 1));
  REFUSES_NULL(shoal_coordinate_update(tracker, 0, NULL, 1, 1));
  CHECK_STATUS(shoal_coordinate_update(tracker, 4, &coordinate, 1, 1), SHOAL_INVALID_ARGUMENT);
  CHECK_STATUS(shoal_coordinate_update(tracker, UINT32_MAX, &coordinate, 1, 1),
               SHOAL_INVALID_ARGUMENT);
  REFUSES_NULL(shoal_coordinate_hear(NULL, 0, &coordinate, 1));
  REFUSES_NULL(shoal_coordinate_hear(tracker, 0, NULL, 1));
  REFUSES_NULL(shoal_coordinate_forget(NULL, 0));
  CHECK_STATUS(shoal_coordinate_forget(tracker, UINT32_MAX), SHOAL_OK);
  REFUSES_NULL(shoal_coordinate_rtt(NULL, 0, 1, &rtt));
  REFUSES_NULL(shoal_coordinate_rtt(tracker, 0, 1, NULL));
  REFUSES_NULL(shoal_coordinate_estimate(NULL, 0, 1, &value));
  REFUSES_NULL(shoal_coordinate_estimate(tracker, 0, 1, NULL));
  REFUSES_NULL(shoal_coordinate_upper(NULL, 0, 1, &value));
  REFUSES_NULL(shoal_coordinate_upper(tracker, 0, 1, NULL));
  REFUSES_NULL(shoal_coordinate_quality(NULL, 0, 1, &value));
  REFUSES_NULL(shoal_coordinate_quality(tracker, 0, 1, NULL));
  CHECK_STATUS(shoal_coordinate_rtt(tracker, UINT32_MAX, 1, &rtt), SHOAL_NONE);
  REFUSES_NULL(shoal_coordinate_save(NULL, &snapshot));
  REFUSES_NULL(shoal_coordinate_save(tracker, NULL));
  CHECK_STATUS(shoal_coordinate_save(tracker, &snapshot), SHOAL_OK);
  REFUSES_NULL(shoal_coordinate_restore(NULL, &snapshot));
  REFUSES_NULL(shoal_coordinate_restore(tracker, NULL));
  CHECK_STATUS(shoal_coordinate_restore(tracker, &snapshot), SHOAL_OK);
  REFUSES_NULL(shoal_coordinate_distance(NULL, &coordinate, &value));
  REFUSES_NULL(shoal_coordinate_distance(&coordinate, NULL, &value));
  REFUSES_NULL(shoal_coordinate_distance(&coordinate, &coordinate, NULL));
  shoal_coordinate_free(tracker);
}

int main(void) {
  secret = test_secret();
  config = test_config(&secret);
  address = test_address("127.0.0.1:9000");
  config.advertise = address;
  values();
  config = test_config(&secret);
  config.advertise = address;
  settings();
  engines();
  nodes();
  coordinates();
  return 0;
}
