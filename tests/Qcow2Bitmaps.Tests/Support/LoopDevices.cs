namespace Qcow2Bitmaps.Tests.Support;

/// <summary>Block devices over files, for as long as a test runs. Skips the test where none can be had.</summary>
internal sealed class LoopDevices : IDisposable
{
    private readonly List<string> _devices = [];

    public async Task<string> AttachAsync(string file, int sectorBytes = 512)
    {
        ProcessResult? attached = null;
        await Patience.UntilAsync(
            async () =>
            {
                attached = await Qemu.RunAsync("losetup", null, "-f", "--show", "-b", $"{sectorBytes}", file);
                // Another test may have taken the free device in between.
                return !attached.Error.Contains("busy", StringComparison.OrdinalIgnoreCase);
            },
            "a loop device is free");
        Assert.SkipWhen(attached!.ExitCode != 0, "No loop device can be attached here: " + attached.Error);
        _devices.Add(attached.Output.Trim());
        return _devices[^1];
    }

    public void Dispose()
    {
        foreach (string device in _devices)
        {
            using var detach = System.Diagnostics.Process.Start("losetup", ["-d", device]);
            detach.WaitForExit();
        }
    }
}
