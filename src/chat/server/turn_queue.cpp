#include "src/chat/server/turn_queue.h"

#include <algorithm>
#include <chrono>

#include "shori/util/text.h"
#include "src/chat/server/http/request_error.h"

namespace shori {

std::shared_ptr<TurnQueue::Turn> TurnQueue::wait(const std::function<bool()>& gives_up) {
  constexpr std::chrono::milliseconds kAskTime{100};
  std::unique_lock lock(mutex_);
  if (tickets_.size() > most_waiting_)
    throw RequestError{.status = 503,
                       .type = "unavailable_error",
                       .message = concat("busy: ", most_waiting_, " requests wait already"),
                       .retry_after = 5};
  const std::uint64_t ticket = next_++;
  tickets_.push_back(ticket);
  auto turn = std::make_shared<Turn>(*this, ticket);
  const auto is_first = [this, ticket] { return tickets_.front() == ticket; };
  while (!changed_.wait_for(lock, kAskTime, is_first)) {
    lock.unlock();
    if (gives_up()) return nullptr;
    lock.lock();
  }
  lock.unlock();
  return gives_up() ? nullptr : turn;
}

bool TurnQueue::is_busy() {
  const std::lock_guard lock(mutex_);
  return !tickets_.empty();
}

void TurnQueue::leave(std::uint64_t ticket) {
  const std::lock_guard lock(mutex_);
  std::erase(tickets_, ticket);
  changed_.notify_all();
}

}  // namespace shori
