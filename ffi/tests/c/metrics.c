/* What a node measures of itself, as text and as numbers, and what it keeps of its place. */
#include "check.h"

static void check_text(const char *text, size_t size) {
  CHECK(strlen(text) + 1 == size && size < SHOAL_METRICS_SIZE_MAX);
  CHECK(strncmp(text, "# ", 2) == 0 && strcmp(text + size - 7, "# EOF\n") == 0);
  CHECK(strstr(text, "\nshoal_datagrams_received_total 1\n") != NULL ||
        strstr(text, "\nshoal_datagrams_received_total 0\n") != NULL);
  CHECK(strstr(text, "\nshoal_health_score 0\n") != NULL);
}

static void engines(void) {
  shoal_secret secret = test_secret();
  shoal_config config = test_config(&secret);
  shoal_engine *engine = NULL;
  shoal_address peer = test_address("127.0.0.1:9001");
  shoal_counter gauges[8];
  shoal_coordinate_snapshot snapshot;
  shoal_coordinate coordinate;
  uint8_t datagram[100] = {0};
  char *text = (char *)malloc(SHOAL_METRICS_SIZE_MAX);
  size_t size = 0, again = 0, count = 0;
  CHECK(text != NULL);
  config.advertise = test_address("127.0.0.1:9000");
  CHECK_STATUS(shoal_engine_new(&config, 1, 1, &engine, NULL, 0), SHOAL_OK);
  CHECK_STATUS(shoal_engine_handle_datagram(engine, 2, &peer, datagram, 100), SHOAL_OK);
  CHECK_STATUS(shoal_engine_metrics_text(engine, 3, NULL, 0, &size), SHOAL_OK);
  text[0] = 'x';
  CHECK_STATUS(shoal_engine_metrics_text(engine, 3, text, size - 1, &again), SHOAL_OK);
  CHECK(again == size && text[0] == 'x');
  CHECK_STATUS(shoal_engine_metrics_text(engine, 3, text, size, &again), SHOAL_OK);
  check_text(text, again);
  CHECK(strstr(text, "\nshoal_dropped_foreign_total 1\n") != NULL);
  CHECK(strncmp(shoal_metrics_media_type(), "application/openmetrics-text", 28) == 0);

  CHECK_STATUS(shoal_engine_gauges(engine, gauges, 8, &count), SHOAL_OK);
  CHECK(count == 6 && strcmp(gauges[0].name, "health_score") == 0 && gauges[0].value == 0);

  CHECK_STATUS(shoal_engine_coordinate_save(engine, &snapshot), SHOAL_OK);
  snapshot.coordinate.vector[0] = 0.025;
  CHECK_STATUS(shoal_engine_coordinate_restore(engine, &snapshot), SHOAL_OK);
  CHECK_STATUS(shoal_engine_coordinate(engine, &coordinate), SHOAL_OK);
  CHECK(memcmp(&coordinate, &snapshot.coordinate, sizeof coordinate) == 0);
  snapshot.coordinate.vector[0] = 1e9;
  CHECK_STATUS(shoal_engine_coordinate_restore(engine, &snapshot), SHOAL_INVALID_COORDINATE);
  shoal_engine_free(engine);
  free(text);
}

static void nodes(void) {
  shoal_secret secret = test_secret();
  shoal_config config = test_config(&secret);
  shoal_node *node = NULL;
  shoal_thread *thread = NULL;
  shoal_coordinate_snapshot snapshot;
  shoal_address own, local;
  char *text = (char *)malloc(SHOAL_METRICS_SIZE_MAX);
  char line[64];
  size_t size = 0;
  CHECK(text != NULL);
  config.bind = test_address("127.0.0.1:0");
  CHECK_STATUS(shoal_thread_start(test_backend(), SHOAL_CPU_ANY, &thread, NULL, 0), SHOAL_OK);
  CHECK_STATUS(shoal_node_start_on(thread, &config, &node, NULL, 0), SHOAL_OK);
  CHECK(strcmp(shoal_thread_backend(thread), shoal_node_backend(node)) == 0);
  CHECK_STATUS(shoal_thread_backend_refusal(thread, line, sizeof line), SHOAL_OK);
  shoal_thread_free(thread);
  CHECK_STATUS(shoal_node_metrics_text(node, text, SHOAL_METRICS_SIZE_MAX, &size), SHOAL_OK);
  check_text(text, size);
  snprintf(line, sizeof line, "shoal_backend_info{backend=\"%s\"", shoal_node_backend(node));
  CHECK(strstr(text, line) != NULL);
  CHECK_STATUS(shoal_node_gauges(node, NULL, 0, &size), SHOAL_OK);
  CHECK(size == 6);
  CHECK_STATUS(shoal_node_coordinate_save(node, &snapshot), SHOAL_OK);
  CHECK_STATUS(shoal_node_coordinate_restore(node, &snapshot), SHOAL_OK);
  snapshot.coordinate.vector[0] = 1e9;
  CHECK_STATUS(shoal_node_coordinate_restore(node, &snapshot), SHOAL_INVALID_COORDINATE);
  CHECK_STATUS(shoal_node_address(node, &own), SHOAL_OK);
  CHECK_STATUS(shoal_node_local_address(node, &local), SHOAL_OK);
  CHECK(memcmp(&own, &local, sizeof own) == 0);
  CHECK_STATUS(shoal_node_stop(node), SHOAL_OK);
  CHECK_STATUS(shoal_node_metrics_text(node, text, SHOAL_METRICS_SIZE_MAX, &size), SHOAL_STOPPED);
  shoal_node_free(node);
  free(text);
}

int main(void) {
  engines();
  nodes();
  return 0;
}
