namespace Qcow2Bitmaps.Tests.Support;

/// <summary>Block devices over files, for as long as a test runs. Skips the test where none can be had.</summary>
internal sealed class LoopDevices : IDisposable
{
    private readonly List<string> _devices = [];

    public async Task<string> AttachAsync(string file, int sectorBytes = 512)
    {
        ProcessResult attached = await Qemu.RunAsync("losetup", null, "-f", "--show", "-b", $"{sectorBytes}", file);
        for (int i = 0; i < 5 && attached.ExitCode != 0; i++)
        {
            // Another test may have taken the free device in between.
            await Task.Delay(50);
            attached = await Qemu.RunAsync("losetup", null, "-f", "--show", "-b", $"{sectorBytes}", file);
        }

        Assert.SkipWhen(attached.ExitCode != 0, "No loop device can be attached here: " + attached.Error);
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
