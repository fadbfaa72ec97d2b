using System.Text.Json;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>What is said of a bitmap that is not valid: one remedy for each state, the same wherever it is said, and it helps.</summary>
public sealed class RemedyTests : IDisposable
{
    private const int Cluster = 16;
    private const long Size = 1 << 20;

    private readonly TempFolder _folder = TempFolder.InMemory();

    /// <summary>The states, from the top down, and the remedy.</summary>
    public static TheoryData<string, string> States => new()
    {
        { "absent recording", "populate" },
        { "recording absent recording", "populate" },
        { "absent absent recording", "populate" },
        { "in-use recording", "populate" },
        { "recording in-use recording", "populate" },
        { "disabled recording", "populate" },
        // Born in an image whose allocation does not tell what changed: no backing file.
        { "in-use", "delete" },
        { "disabled", "delete" },
        { "recording in-use", "delete" },
        { "absent in-use", "delete" },
        // Born in an overlay that may have been committed and emptied since.
        { "in-use absent", "delete" },
        { "recording disabled absent", "delete" },
        { "broken", "repair" },
        { "recording broken", "repair" },
        { "absent", "full-backup" },
        { "absent absent", "full-backup" },
        { "absent+other", "populate-since" },
        { "absent+other absent", "populate-since" },
        { "absent+in-use-other absent+other", "populate-since" },
        { "absent+in-use-other", "full-backup" },
    };

    public void Dispose() => _folder.Dispose();

    [Theory]
    [MemberData(nameof(States))]
    public async Task EachStateHasOneRemedyThatIsTheSameEverywhereAndHelps(string states, string expected)
    {
        string top = Make(states);
        JsonElement verdict = await JudgeAsync(top);
        Assert.Equal(expected, verdict.GetProperty("remedy").GetString());
        string detail = verdict.GetProperty("detail").GetString()!;
        string advice = verdict.GetProperty("advice").GetString()!;
        // What was found is one thing, what to do another.
        Assert.All(
            ["full backup", "only be removed", "populate", "enable it", "qcow2bitmaps chain", "--"],
            word => Assert.DoesNotContain(word, detail, StringComparison.OrdinalIgnoreCase));

        ProcessResult text = await Support.Cli.RunAsync("chain", "check", "--bitmap", "a", top);
        Assert.EndsWith($"\na: {detail}.\nremedy: {advice}.\n", text.Output, StringComparison.Ordinal);
        bool isHeld = expected is not ("populate-since" or "full-backup");
        foreach (string[] command in new string[][]
        {
            ["extents", "--chain", top, "a"],
            ["backup", "incremental", "--since", "a", top, _folder.File("backup.qcow2")],
            ["chain", "reconcile", "--expect", "a", top],
        })
        {
            ProcessResult said = await Support.Cli.RunAsync(command);
            Assert.NotEqual(0, said.ExitCode);
            Assert.True(
                (said.Output + said.Error).Contains($"{detail}; remedy: {advice}", StringComparison.Ordinal)
                    || (command[1] == "reconcile" && !isHeld),
                $"{string.Join(' ', command)}: {said.Output}{said.Error}");
        }

        if (expected is "populate" or "repair")
        {
            await RunAsync(advice);
            await Support.Cli.OkAsync("chain", "check", "--bitmap", "a", top);
        }
        else if (expected == "populate-since")
        {
            await Support.Cli.RunAsync("chain", "populate", top, "other");
            await RunAsync(advice.Replace("OLDER", "other", StringComparison.Ordinal));
            await Support.Cli.OkAsync("chain", "check", "--bitmap", "a", top);
        }
        else if (expected == "delete")
        {
            Assert.Equal(1, (await Support.Cli.RunAsync("chain", "populate", top, "a")).ExitCode);
            await RunAsync(advice);
            await Support.Cli.OkAsync("chain", "check", top);
        }
    }

    /// <summary>The base's bitmap gets all that is committed, and is complete: nobody is advised to throw it away.</summary>
    [Theory]
    [InlineData("in-use recording", 0, true)]
    [InlineData("broken recording", 0, true)]
    [InlineData("disabled recording", 0, true)]
    [InlineData("recording in-use recording", 1, true)]
    [InlineData("in-use in-use", 0, false)]
    [InlineData("in-use absent", 0, false)]
    [InlineData("absent recording in-use recording", 2, false)]
    public async Task ACommitSaysWhatIsTrueAfterwards(string states, int top, bool isValidAfterwards)
    {
        string active = Make(states);
        int count = states.Split(' ').Length;
        string[] command = [
            "chain",
            "commit",
            .. top > 0 ? ["--active", active] : Array.Empty<string>(),
            "--output",
            "json",
            _folder.File($"{top}.qcow2"),
            _folder.File($"{count - 1}.qcow2"),
        ];

        JsonElement done = Parse(await Support.Cli.OkAsync(command));

        await AssertSaidAsTrueAsync(done, top == 0 ? _folder.File($"{count - 1}.qcow2") : active, isValidAfterwards);
    }

    [Theory]
    [InlineData("in-use recording absent", true)]
    [InlineData("recording absent recording", true)]
    [InlineData("recording disabled recording", true)]
    [InlineData("in-use recording recording", false)]
    [InlineData("recording recording in-use", false)]
    [InlineData("disabled absent recording", false)]
    public async Task APullSaysWhatIsTrueAfterwards(string states, bool mayBeValid)
    {
        string active = Make(states);

        JsonElement done = Parse(await Support.Cli.OkAsync("chain", "pull", "--base", _folder.File("2.qcow2"), "--output", "json", active));

        bool isValid = (await Support.Cli.RunAsync("chain", "check", "--bitmap", "a", active)).ExitCode == 0;
        Assert.True(mayBeValid || !isValid);
        await AssertSaidAsTrueAsync(done, active, isValid);
    }

    private async Task AssertSaidAsTrueAsync(JsonElement done, string top, bool isValid)
    {
        foreach (JsonElement change
            in done.GetProperty("bitmaps").EnumerateArray().Where(static change => change.TryGetProperty("detail", out _)))
        {
            Assert.All(
                ["full backup", "only be removed", "populate", "enable it"],
                word => Assert.DoesNotContain(word, change.GetProperty("detail").GetString()!, StringComparison.OrdinalIgnoreCase));
        }

        JsonElement verdict = await JudgeAsync(top);
        JsonElement[] said = [.. done.GetProperty("verdicts").EnumerateArray()];
        Assert.Equal(isValid, verdict.GetProperty("valid").GetBoolean());
        if (isValid)
        {
            Assert.Empty(said);
            return;
        }

        foreach (string member in new[] { "reason", "image", "detail", "remedy", "advice" })
        {
            Assert.Equal(verdict.GetProperty(member).ToString(), Assert.Single(said).GetProperty(member).ToString());
        }
    }

    private static async Task<JsonElement> JudgeAsync(string top) =>
        Parse((await Support.Cli.RunAsync("chain", "check", "--bitmap", "a", "--output", "json", top)).Output).GetProperty("bitmaps")[0];

    private static JsonElement Parse(string json) => JsonDocument.Parse(json).RootElement;

    /// <summary>Does what a remedy says: the command at its start.</summary>
    private static async Task RunAsync(string advice)
    {
        string[] words = advice.Split([':', ','])[0].Split(' ', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal("qcow2bitmaps", words[0]);
        await Support.Cli.OkAsync(words[1..]);
    }

    /// <summary>Makes a chain in which bitmap 'a' has a state in each image, the top one first; some hold 'other' beside it.</summary>
    private string Make(string states)
    {
        string[] each = states.Split(' ');
        for (int i = 0; i < each.Length; i++)
        {
            string[] parts = each[i].Split('+');
            var image = new TestImage(Cluster, Size) { BackingFile = i + 1 < each.Length ? $"{i + 1}.qcow2" : null };
            if (i + 1 < each.Length)
            {
                image.Extensions.Add(new RawHeaderExtension(HeaderExtensionType.BackingFormat, "qcow2"u8.ToArray()));
            }

            if (parts[0] != "absent")
            {
                image.WithBitmap("a", flags: FlagsOf(parts[0]));
            }

            if (parts.Length > 1)
            {
                image.WithBitmap("other", flags: parts[1] == "other" ? BitmapFlags.Auto : FlagsOf("in-use"), bits: [1]);
            }

            byte[] bytes = image.Build();
            if (parts[0] == "broken")
            {
                bytes[image.Bitmaps[0].TableOffset] = 0xff;
            }

            _folder.Write($"{i}.qcow2", bytes);
        }

        return _folder.File("0.qcow2");
    }

    private static BitmapFlags FlagsOf(string state) => state switch
    {
        "in-use" => BitmapFlags.InUse | BitmapFlags.Auto,
        "disabled" => BitmapFlags.None,
        _ => BitmapFlags.Auto,
    };
}
