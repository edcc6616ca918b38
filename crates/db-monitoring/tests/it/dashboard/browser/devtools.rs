//! Chromium, driven by its DevTools protocol over pipes: it needs no port and no library.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(60);

type Tested<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Where Chromium is, if it is installed.
pub(crate) fn program() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).flat_map(|at| names.map(|name| at.join(name))).find(|file| file.is_file())
}

/// A browser with one page. It ends with its value.
pub(crate) struct Browser {
    _child: Child,
    _profile: TempDir,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: String,
    last: u64,
    /// What was written on the console, errors of scripts and what the policy refused.
    pub(crate) console: Vec<String>,
    /// Every address that was asked for.
    pub(crate) requests: Vec<String>,
    loaded: bool,
}

impl Browser {
    pub(crate) async fn start(program: &Path) -> Tested<Self> {
        let profile = tempfile::tempdir()?;
        // The protocol is on the descriptors 3 and 4.
        let mut child = Command::new("sh")
            .args(["-c", r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#])
            .arg(program)
            .args(["--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu"])
            .args([
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--hide-scrollbars",
                "--force-device-scale-factor=1",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let no_pipe = || io::Error::other("no pipe");
        let (to, from) = (child.stdin.take().ok_or_else(no_pipe)?, child.stdout.take().ok_or_else(no_pipe)?);
        let mut browser = Browser {
            _child: child,
            _profile: profile,
            to,
            from: BufReader::new(from),
            session: String::new(),
            last: 0,
            console: Vec::new(),
            requests: Vec::new(),
            loaded: false,
        };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" })).await?;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach).await?;
        browser.session = attached["sessionId"].as_str().unwrap_or_default().to_owned();
        for domain in ["Page.enable", "Runtime.enable", "Log.enable", "Network.enable"] {
            browser.call(domain, json!({})).await?;
        }
        Ok(browser)
    }

    /// Sets the window's size and the person's wish for light or dark.
    pub(crate) async fn look(&mut self, width: u32, height: u32, theme: &str) -> Tested<()> {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 700 });
        self.call("Emulation.setDeviceMetricsOverride", size).await?;
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": theme }] });
        self.call("Emulation.setEmulatedMedia", media).await?;
        Ok(())
    }

    /// Opens a page, and waits until it is loaded and its script has drawn.
    pub(crate) async fn open(&mut self, url: &str) -> Tested<()> {
        self.loaded = false;
        self.call("Page.navigate", json!({ "url": url })).await?;
        while !self.loaded {
            self.hear().await?;
        }
        let drawn =
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))";
        self.eval(drawn).await?;
        Ok(())
    }

    /// What an expression is, in the page.
    pub(crate) async fn eval(&mut self, text: &str) -> Tested<Json> {
        let ask = json!({ "expression": text, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", ask).await?;
        match answer.get("exceptionDetails") {
            Some(details) => Err(format!("{text}: {details}").into()),
            None => Ok(answer["result"]["value"].clone()),
        }
    }

    pub(crate) async fn key(&mut self, key: &str) -> Tested<()> {
        self.press(key, 0).await
    }

    pub(crate) async fn shift_key(&mut self, key: &str) -> Tested<()> {
        self.press(key, 8).await
    }

    async fn press(&mut self, key: &str, modifiers: u8) -> Tested<()> {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "ArrowLeft" => 37,
            key => key.to_uppercase().bytes().next().unwrap_or(0),
        };
        let mut event =
            json!({ "type": "keyDown", "key": key, "windowsVirtualKeyCode": code, "modifiers": modifiers });
        if key.len() == 1 {
            event["text"] = key.into();
        }
        self.call("Input.dispatchKeyEvent", event.clone()).await?;
        event["type"] = "keyUp".into();
        self.call("Input.dispatchKeyEvent", event).await?;
        Ok(())
    }

    /// The whole page as PNG.
    pub(crate) async fn screenshot(&mut self) -> Tested<Vec<u8>> {
        let ask = json!({ "format": "png", "captureBeyondViewport": true });
        let answer = self.call("Page.captureScreenshot", ask).await?;
        Ok(from_base64(answer["data"].as_str().unwrap_or_default()))
    }

    async fn call(&mut self, method: &str, params: Json) -> Tested<Json> {
        self.last += 1;
        let id = self.last;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if !self.session.is_empty() {
            message["sessionId"] = self.session.clone().into();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).await?;
        self.to.flush().await?;
        loop {
            let heard = self.hear().await?;
            if heard["id"] == id {
                return match heard.get("error") {
                    Some(error) => Err(format!("{method}: {error}").into()),
                    None => Ok(heard["result"].clone()),
                };
            }
        }
    }

    /// The next message; what it tells of the page is kept.
    async fn hear(&mut self) -> Tested<Json> {
        let mut bytes = Vec::new();
        tokio::time::timeout(PATIENCE, self.from.read_until(0, &mut bytes)).await??;
        if bytes.pop() != Some(0) {
            return Err("chromium has ended".into());
        }
        let message: Json = serde_json::from_slice(&bytes)?;
        let params = &message["params"];
        match message["method"].as_str() {
            Some("Page.loadEventFired") => self.loaded = true,
            Some("Network.requestWillBeSent") => {
                let url = params["request"]["url"].as_str().unwrap_or_default();
                if !url.starts_with("data:") && !url.starts_with("about:") {
                    self.requests.push(url.to_owned());
                }
            }
            Some("Runtime.consoleAPICalled" | "Runtime.exceptionThrown") => {
                self.console.push(params.to_string())
            }
            Some("Log.entryAdded") => self.console.push(params["entry"].to_string()),
            _ => {}
        }
        Ok(message)
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let digits: Vec<u32> = text.bytes().filter_map(digit).map(u32::from).collect();
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    for four in digits.chunks(4) {
        let joined = (0..4).fold(0, |joined, at| joined << 6 | four.get(at).copied().unwrap_or(0));
        bytes.extend_from_slice(&joined.to_be_bytes()[1..four.len()]);
    }
    bytes
}
