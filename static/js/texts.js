import { ENGLISH } from "./english.js";

/* Words the scripts say themselves. The page's language is that of <html lang>; Russian is the default. */
const RU = {
  close: "Закрыть", undo: "Отменить", proceed: "Продолжить", copied: "Скопировано",
  notCopied: "Браузер не дал скопировать. Выделите текст и нажмите Ctrl+C.",
  offline: "Нет связи с сервером. Проверьте интернет и повторите: введённое осталось на странице.",
  signedOut: "Вы вышли из системы. Откройте страницу заново и войдите: введённое пока осталось здесь.",
  forbidden: "Недостаточно прав для этого действия.", notFound: "Запись не найдена: её удалили или у вас нет к ней доступа.",
  conflict: "Запись уже изменил другой сотрудник. Обновите страницу и повторите.", tooLarge: "Слишком большой файл или текст.",
  invalid: "Проверьте заполнение полей.", tooMany: "Слишком много запросов подряд. Подождите минуту и повторите.",
  failed: "Ошибка на сервере. Изменения не сохранены, повторите позже.",
  typeMore: "Введите хотя бы 2 буквы", nothing: "Ничего не найдено", loading: "Загрузка…", searchFailed: "Поиск не удался. Повторите ввод.",
  day: "дд.мм.гггг", moment: "дд.мм.гггг чч:мм", remove: "Убрать", pause: "Пауза", play: "Слушать запись", expired: "Страница устарела. Обновите её и повторите действие.",
};
const EN = {
  close: "Close", undo: "Undo", proceed: "Continue", copied: "Copied", notCopied: "The browser did not allow copying. Select the text and press Ctrl+C.",
  offline: "No connection to the server. Check the network and try again: what you typed is still on the page.",
  signedOut: "You are signed out. Open the page again and sign in: what you typed is still here.",
  forbidden: "You have no right to do this.", notFound: "The record is not found: it was deleted or you have no access to it.",
  conflict: "Somebody else has changed the record. Reload the page and try again.", tooLarge: "The file or the text is too large.",
  invalid: "Check the fields.", tooMany: "Too many requests. Wait a minute and try again.",
  failed: "Server error. Nothing was saved, try again later.",
  typeMore: "Type at least 2 letters", nothing: "Nothing found", loading: "Loading…", searchFailed: "The search failed. Type again.",
  day: "dd.mm.yyyy", moment: "dd.mm.yyyy hh:mm", remove: "Remove", pause: "Pause", play: "Play the recording", expired: "The page is out of date. Reload it and try again.",
};

const english = () => document.documentElement.lang.startsWith("en");

/** Text by key in the language of the page. */
export function t(key) {
  return (english() ? EN : RU)[key];
}

/** A Russian text in the language of the page; `values` take the places of «%(name)s» in it. */
export function tr(text, values = {}) {
  const said = english() ? ENGLISH[text] ?? text : text;
  return said.replace(/%\((\w+)\)s/g, (place, name) => String(values[name]));
}
