//! A page in a headless Chromium, with everything that the browser complains of.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use std::{env, fs};

use headless_chrome::browser::tab::Tab;
use headless_chrome::protocol::cdp::types::Event;
use headless_chrome::protocol::cdp::{Emulation, Network, Page as PageProtocol};
use headless_chrome::{Browser, LaunchOptions};
use serde_json::{Value, json};
use tftrace_analyzer::model::Report;
use tftrace_analyzer::page::{FlameGraph, render};

/// One browser at a time: the machine of a test run is small.
static ONE: Mutex<()> = Mutex::new(());

/// A page that is open.
pub(crate) struct Page {
    tab: Arc<Tab>,
    complaints: Arc<Mutex<Vec<String>>>,
    url: String,
    bytes: usize,
    _browser: Browser,
    _folder: tempfile::TempDir,
    _one: MutexGuard<'static, ()>,
}

/// What the browser is started with beside the page.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Conditions {
    pub(crate) dark: bool,
    pub(crate) fragment: &'static str,
}

/// The browser's program file.
///
/// Without one the test fails, and says what to do: a skipped test would look like one that passed.
fn chromium() -> PathBuf {
    if let Some(named) = env::var_os("TFTRACE_TEST_BROWSER") {
        return named.into();
    }
    let folders = env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    let found = env::split_paths(&folders)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|path| path.is_file());
    found.expect("no Chromium: install the package chromium, or name one in TFTRACE_TEST_BROWSER")
}

impl Page {
    pub(crate) fn open(report: &Report, graph: &FlameGraph) -> Self {
        Self::open_in(report, graph, Conditions::default())
    }

    pub(crate) fn open_in(report: &Report, graph: &FlameGraph, conditions: Conditions) -> Self {
        Self::open_html(&render(report, graph), conditions)
    }

    pub(crate) fn open_html(html: &[u8], conditions: Conditions) -> Self {
        // A test that failed while it held the browser is no reason for the others to fail.
        let one = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trace of \"a\" #1.html");
        fs::write(&file, html).unwrap();
        let options = LaunchOptions {
            path: Some(chromium()),
            // Containers, in which tests run as root, have no sandbox; the page is our own.
            sandbox: false,
            args: vec![OsStr::new("--disable-gpu"), OsStr::new("--hide-scrollbars")],
            idle_browser_timeout: Duration::from_secs(120),
            ..LaunchOptions::default()
        };
        let browser = Browser::new(options).unwrap();
        let tab = browser.new_tab().unwrap();
        tab.set_default_timeout(Duration::from_secs(60));
        let complaints = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&complaints);
        tab.enable_log().unwrap();
        tab.enable_runtime().unwrap();
        tab.call_method(Network::Enable {
            max_total_buffer_size: None,
            max_resource_buffer_size: None,
            max_post_data_size: None,
            report_direct_socket_traffic: None,
            enable_durable_messages: None,
        })
        .unwrap();
        tab.add_event_listener(Arc::new(move |event: &Event| {
            let complaint = match event {
                Event::LogEntryAdded(entry) => Some(format!("log: {}", entry.params.entry.text)),
                Event::RuntimeConsoleAPICalled(call) => Some(format!("console: {:?}", call.params)),
                Event::RuntimeExceptionThrown(thrown) => {
                    Some(format!("exception: {:?}", thrown.params))
                }
                Event::NetworkRequestWillBeSent(request) => {
                    Some(format!("request: {}", request.params.request.url))
                }
                _ => None,
            };
            heard.lock().unwrap().extend(complaint);
        }))
        .unwrap();
        let window =
            json!({ "width": 1280, "height": 800, "deviceScaleFactor": 1, "mobile": false });
        let window: Emulation::SetDeviceMetricsOverride = serde_json::from_value(window).unwrap();
        tab.call_method(window).unwrap();
        let scheme = if conditions.dark { "dark" } else { "light" };
        let feature =
            Emulation::MediaFeature { name: "prefers-color-scheme".into(), value: scheme.into() };
        tab.call_method(Emulation::SetEmulatedMedia { media: None, features: Some(vec![feature]) })
            .unwrap();
        let path =
            file.to_str().unwrap().replace('"', "%22").replace('#', "%23").replace(' ', "%20");
        let url = format!("file://{path}");
        tab.navigate_to(&format!("{url}{}", conditions.fragment))
            .unwrap()
            .wait_until_navigated()
            .unwrap();
        let page = Self {
            tab,
            complaints,
            url,
            bytes: html.len(),
            _browser: browser,
            _folder: folder,
            _one: one,
        };
        page.settle();
        page
    }

    /// The value of an expression in the page; a promise is waited for.
    pub(crate) fn value(&self, expression: &str) -> Value {
        let object = self
            .tab
            .evaluate(expression, true)
            .unwrap_or_else(|error| panic!("{expression}: {error}"));
        object.value.unwrap_or(Value::Null)
    }

    /// How long the file is.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn text(&self, selector: &str) -> String {
        let value = self.value(&format!("document.querySelector({selector:?})?.innerText ?? ''"));
        value.as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn number(&self, expression: &str) -> f64 {
        self.value(expression).as_f64().unwrap_or(f64::NAN)
    }

    pub(crate) fn is(&self, expression: &str) -> bool {
        self.value(expression) == Value::Bool(true)
    }

    /// Waits until the page has drawn what it was told to.
    pub(crate) fn settle(&self) {
        self.value("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))");
    }

    pub(crate) fn click(&self, selector: &str) {
        self.tab.wait_for_element(selector).unwrap().click().unwrap();
        self.settle();
    }

    pub(crate) fn press(&self, key: &str) {
        self.tab.press_key(key).unwrap();
        self.settle();
    }

    pub(crate) fn type_text(&self, text: &str) {
        self.tab.type_str(text).unwrap();
        self.settle();
    }

    /// A picture of the window. Kept where `TFTRACE_TEST_SCREENSHOTS` names a folder.
    pub(crate) fn screenshot(&self, name: &str) -> Vec<u8> {
        let format = PageProtocol::CaptureScreenshotFormatOption::Png;
        let picture = self.tab.capture_screenshot(format, None, None, true).unwrap();
        if let Some(folder) = env::var_os("TFTRACE_TEST_SCREENSHOTS") {
            fs::create_dir_all(&folder).unwrap();
            fs::write(PathBuf::from(folder).join(format!("{name}.png")), &picture).unwrap();
        }
        picture
    }

    /// Nothing was asked for but the file itself, nothing was said on the console, nothing failed.
    pub(crate) fn assert_quiet(&self) {
        let complaints = self.complaints.lock().unwrap();
        let own = format!("request: {}", self.url);
        let others: Vec<_> = complaints
            .iter()
            .filter(|said| !(said.starts_with(&own) || said.starts_with("request: data:")))
            .collect();
        assert!(others.is_empty(), "{others:#?}");
        assert!(
            complaints.iter().any(|said| said.starts_with(&own)),
            "requests are not seen: {complaints:?}"
        );
    }
}
