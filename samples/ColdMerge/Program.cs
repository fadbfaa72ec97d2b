using System.Text.Json;
using Qcow2Bitmaps;
using Qcow2Bitmaps.Operations;

// ColdMerge TOP BASE [CHECKPOINT…]: merges the snapshot TOP into BASE, the image right below it, while no machine runs, as oVirt's storage
// manager does. The checkpoints are those that the manager's database knows. Prints what it did; exit code 0 when every checkpoint is a
// valid bitmap afterwards, 2 when one is not, 1 on an error.
if (args.Length < 2)
{
    await Console.Error.WriteLineAsync("usage: ColdMerge TOP BASE [CHECKPOINT...]");
    return 1;
}

string top = args[0];
string @base = args[1];
string[] checkpoints = args[2..];
try
{
    // 1. Compare the bitmaps with the expected ones. If a checkpoint is missing or unusable, the disk's next backup must be a full one; the
    // others stay incremental.
    string[] useless;
    await using (ImageChain chain = await ImageChain.OpenAsync(top))
    {
        if (chain.IndexOf(@base) != 1)
        {
            await Console.Error.WriteLineAsync($"{@base} is not right below {top}");
            return 1;
        }

        IReadOnlyList<BitmapVerdict> found = await chain.JudgeBitmapsAsync();
        BitmapVerdict[] expected = [.. found.Where(verdict => checkpoints.Contains(verdict.Name, StringComparer.Ordinal))];
        string[] surplus = [.. found.Except(expected).Select(static verdict => verdict.Name)];
        BitmapVerdict[] unusable = [.. expected.Where(static verdict => !verdict.IsValid)];
        await SayAsync("valid", expected.Except(unusable).Select(static verdict => verdict.Name));
        await SayAsync("missing", checkpoints.Except(expected.Select(static verdict => verdict.Name), StringComparer.Ordinal));
        await SayAsync("unusable", unusable.Select(static verdict => $"{verdict.Name} ({ReasonOf(verdict)})"));
        await SayAsync("surplus", surplus);
        useless = [.. surplus, .. unusable.Select(static verdict => verdict.Name)];
    }

    // 2. Prune: unexpected or unusable bitmaps take space, and would be merged too.
    if (useless.Length > 0)
    {
        await using ChainBitmaps removal = await ChainBitmaps.OpenAsync(top, useless);
        await SayAllAsync((await removal.RunAsync()).Bitmaps);
    }

    // 3. Measure the future length of BASE, including bitmaps; a manager extends its volume to that.
    var options = new MergeOptions { BasePath = @base };
    await using (ChainCommit commit = await ChainCommit.OpenAsync(top, options, isReadOnly: true))
    {
        ImageRoom room = (await commit.MeasureAsync()).Target;
        await Console.Out.WriteLineAsync($"base: {room.CurrentBytes} bytes, {room.RequiredBytes} needed");
    }

    // 4. Merge: bits first, then data. If the volume is too small, the merge is refused before anything is lost; an
    // interrupted merge can be run again.
    await using (ChainCommit commit = await ChainCommit.OpenAsync(top, options))
    {
        ChainResult result = await commit.RunAsync();
        await SayAllAsync(result.Bitmaps);
        await Console.Out.WriteLineAsync($"copied {result.CopiedBytes} bytes");
    }

    // 5. Check the disk before TOP is removed.
    await using ImageChain merged = await ImageChain.OpenAsync(@base);
    bool isInOrder = true;
    foreach (string checkpoint in checkpoints)
    {
        BitmapVerdict verdict = await merged.JudgeBitmapAsync(checkpoint);
        await Console.Out.WriteLineAsync(verdict.ToString());
        isInOrder &= verdict.IsValid;
    }

    return isInOrder ? 0 : 2;
}
catch (NoSpaceException e)
{
    await Console.Error.WriteLineAsync(
        $"extend the volume by {e.NeededBytes - (e.AvailableBytes ?? 0)} bytes and run this again: {e.Message}");
    return 1;
}
catch (IOException e)
{
    await Console.Error.WriteLineAsync(e.Message);
    return 1;
}

static Task SayAsync(string what, IEnumerable<string> names) =>
    Console.Out.WriteLineAsync($"{what}: {string.Join(", ", names.DefaultIfEmpty("none"))}");

static string ReasonOf(BitmapVerdict verdict) => JsonNamingPolicy.KebabCaseLower.ConvertName($"{verdict.Reason}");

static async Task SayAllAsync(IEnumerable<BitmapChange> changes)
{
    foreach (BitmapChange change in changes)
    {
        await Console.Out.WriteLineAsync(change.ToString());
    }
}
