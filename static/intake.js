/* Sends a site's forms to the CRM. ES5, no dependencies, works without cookies.
   <script src="https://crm.example.ru/static/intake.js" data-key="KEY" async></script>
   Sends forms marked data-crm-intake; with data-auto on the tag, every form with a phone. */
(function (window, document) {
'use strict';
var script = document.currentScript;
if (!script || window.CRMIntake) { return; }
var door = script.src.replace(/\/static\/.*/, '/api/v1/intake/') + script.getAttribute('data-key');
var FORM = 'application/x-www-form-urlencoded';
var MARKS = ['utm_source', 'utm_medium', 'utm_campaign', 'utm_content', 'utm_term'];
var KEPT = MARKS.concat('yclid', 'gclid', 'roistat');
var token = '';
// The site is never disturbed.
function ignore() {}

// Memory: local storage, else a first-party cookie.
function load(name) {
  try {
    var text = null;
    try { text = localStorage.getItem(name); } catch (blocked) { ignore(); }
    var pair = new RegExp('(?:^|; )' + name + '=([^;]*)').exec(document.cookie);
    return JSON.parse(text || decodeURIComponent(pair[1]));
  } catch (absent) { return null; }
}

function save(name, value) {
  var text = JSON.stringify(value);
  try { localStorage.setItem(name, text); return; } catch (blocked) { ignore(); }
  try {
    document.cookie = name + '=' + encodeURIComponent(text) + ';path=/;max-age=7776000';
  } catch (sandboxed) { ignore(); }
}

function marksOfPage() {
  var found = null;
  location.search.slice(1).split('&').forEach(function (part) {
    var name = part.split('=')[0];
    var value = part.slice(name.length + 1).replace(/\+/g, ' ');
    if (!value || KEPT.indexOf(name) < 0) { return; }
    try { value = decodeURIComponent(value); } catch (broken) { ignore(); }
    found = found || {};
    found[name] = value.slice(0, 255);
  });
  return found;
}

// First touch lives 90 days, last touch is the newest marked visit.
var here = marksOfPage();
var first = load('crm_first');
if (!first || !first.marks || Date.now() - first.at > 90 * 864e5) {
  first = { at: Date.now(), marks: here || {}, ref: document.referrer.slice(0, 500) };
  save('crm_first', first);
}
if (here) { save('crm_last', here); }
var last = here || load('crm_last') || {};

function json(answer) { return answer.json(); }

function renew() {
  window.fetch && fetch(door + '/token', { credentials: 'omit' }).then(json)
    .then(function (data) { token = data.token || ''; }).catch(ignore);
}

// Urlencoded: browsers send it to another host without a preflight.
function encode(fields) {
  return Object.keys(fields).map(function (name) {
    return [].concat(fields[name]).map(function (value) {
      return encodeURIComponent(name) + '=' + encodeURIComponent(value);
    }).join('&');
  }).join('&');
}

function complete(fields) {
  var all = {
    page_url: location.href.slice(0, 2000), referrer: first.ref,
    screen: screen.width, tz_offset: new Date().getTimezoneOffset(), _t: token
  };
  KEPT.forEach(function (name) {
    if (last[name]) { all[name] = last[name]; }
    if (first.marks[name] && MARKS.indexOf(name) >= 0) { all['first_' + name] = first.marks[name]; }
  });
  for (var name in fields) { all[name] = fields[name]; }
  return all;
}

function beacon(body) {
  return new Promise(function (done, fail) {
    var sent = navigator.sendBeacon && navigator.sendBeacon(door, new Blob([body], { type: FORM }));
    sent ? done({ ok: true }) : fail(new Error('not sent'));
  });
}

function send(fields) {
  var body = encode(complete(fields));
  return !window.fetch ? beacon(body) : fetch(door, {
    method: 'POST', body: body, keepalive: true, credentials: 'omit',
    headers: { 'Content-Type': FORM, Accept: 'application/json' }
  }).then(json, function () { return beacon(body); });
}

function skipped(input) {
  return !input.name || !input.value || input.disabled ||
    /^(password|file|submit|button|reset|image)$/.test(input.type) ||
    (/^(checkbox|radio)$/.test(input.type) && !input.checked) ||
    (input.type === 'hidden' && /^csrf/i.test(input.name)) ||
    /\bcc-|card.?num|cvv|cvc/i.test(input.name + ' ' + input.autocomplete) ||
    /^[2-6]\d{15,18}$/.test(input.value.replace(/[ -]/g, ''));
}

function collect(form) {
  var fields = {};
  [].forEach.call(form.elements, function (input) {
    if (!skipped(input)) { fields[input.name] = (fields[input.name] || []).concat(input.value); }
  });
  return fields;
}

// Capture: seen even if the site stops the event.
document.addEventListener('submit', function (event) {
  try {
    var form = event.target;
    var mark = form.getAttribute('data-crm-intake');
    var tel = script.hasAttribute('data-auto') && form.querySelector('input[type=tel]');
    if (mark === null && !(tel && tel.value)) { return; }
    var fields = collect(form);
    if (mark) { fields.form_name = mark; }
    send(fields).catch(ignore);
  } catch (unsupported) { ignore(); }
}, true);

renew();
setInterval(renew, 432e5);
window.CRMIntake = { send: send };
}(window, document));
